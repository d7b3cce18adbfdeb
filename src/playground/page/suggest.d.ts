/** The types of `suggest.js`, which the browser runs as it is. */

export type Offers = Readonly<Partial<Record<'labels' | 'names' | 'stacks' | 'services' | 'backends', readonly string[]>>>
export type Choice = { readonly text: string; readonly about?: string }
export function suggest(
  text: string,
  caret: number,
  offers: Offers,
): { readonly from: number; readonly to: number; readonly choices: readonly Choice[] } | undefined
