/** The first of the known names that differs by one or two characters, or in case alone. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  return known.find(
    (candidate) =>
      Math.abs(candidate.length - name.length) <= MOST_TYPOS &&
      editDistance(candidate.toLowerCase(), name.toLowerCase()) <= MOST_TYPOS,
  );
}

const MOST_TYPOS = 2;

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
