/** Stands in, in the Worker's bundle, for Bolt's index: its `App` alone, without the receivers for Express and AWS Lambda and the assistant. */

// For the bundler alone, which takes the default of CommonJS as it was meant; Node would take the whole module for it.
export { default as App, LogLevel } from '../../node_modules/@slack/bolt/dist/App.js'
