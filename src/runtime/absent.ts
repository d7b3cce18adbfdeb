/** Stands in, in the Worker's bundle, for Node packages that Bolt's index loads and nothing in a Worker uses. */
export {}
