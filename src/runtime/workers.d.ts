/** The part of Cloudflare's runtime types that drover uses; `wrangler types` would write 630 KB for it. */
declare module 'cloudflare:workers' {
  export abstract class DurableObject<Env> {
    constructor(ctx: { readonly storage: unknown }, env: Env)
    protected readonly ctx: { readonly storage: unknown }
    protected readonly env: Env
    alarm?(): Promise<void>
  }
}
