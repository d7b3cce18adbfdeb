/** Stands in, in the Worker's bundle, for Slack's web client: Bolt makes one for each App, and drover calls Slack by its own (`frontends/slack/client.ts`). */

export class WebClient {}
export class WebAPIPlatformError extends Error {}
export class WebAPIRateLimitedError extends Error {}
export class WebAPIHTTPError extends Error {}
export function addAppMetadata(): void {}
