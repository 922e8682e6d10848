/** The words, wherever people read of it, for a voter that cannot vote now. */
export function voteDoesNotCount(name: string, obstacle: string): string {
  return `the vote of ${name} does not count (${obstacle})`;
}
