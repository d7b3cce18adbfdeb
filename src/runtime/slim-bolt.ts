/** Stands in, in the Worker's bundle, for Bolt's index: its `App` alone, without the receivers for Express and AWS Lambda and the assistant. */

import * as bolt from '../../node_modules/@slack/bolt/dist/App.js'

// CommonJS: whether its default is the class, or all that the module exports, is up to the bundler.
const whole: { readonly default?: unknown } = bolt.default

export const App = whole.default ?? whole
export const LogLevel = bolt.LogLevel
