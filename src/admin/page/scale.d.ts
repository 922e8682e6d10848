/** The top of a chart's scale; `peak` is the highest value where it is cut off. */
export function chooseScale(
  lines: readonly (readonly (number | null)[])[],
  minimum: number,
): { top: number; peak: number | null };
