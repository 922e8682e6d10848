/** The parameters of a connection string, where pg finds them too: a value may have a ? of its own, and a # ends them. */
export function parametersOf(url: string): URLSearchParams {
  const [whole = ''] = url.split('#', 1);
  const at = whole.indexOf('?');
  // With its ?, which is taken off: without, a second one would be.
  return new URLSearchParams(at < 0 ? '' : whole.slice(at));
}
