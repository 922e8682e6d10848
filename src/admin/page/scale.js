/** What most of the values stay below. */
const USUAL_SHARE = 0.9;
/** Values this many times above the usual are cut off, so that the rest can still be read. */
const PEAK_FACTOR = 4;
const HEADROOM = 1.15;

/**
 * The top of a chart's scale. A short peak (a node that comes back is minutes behind for a moment) would press all
 * else flat, so it is cut off and named in words instead. The newest values are always inside.
 * @param {readonly (readonly (number | null)[])[]} lines
 * @param {number} minimum the least top, so that idle noise does not fill the chart
 * @returns {{ top: number, peak: number | null }} `peak`: the highest value where it is cut off
 */
export function chooseScale(lines, minimum) {
  const values = lines
    .flatMap((line) => line.filter((value) => value !== null))
    .map(Number)
    .sort((a, b) => a - b);
  const highest = values.at(-1) ?? 0;
  const usual = values[Math.floor((values.length - 1) * USUAL_SHARE)] ?? 0;
  const newest = Math.max(0, ...lines.map((line) => line.findLast((value) => value !== null) ?? 0));
  const top = Math.max(minimum, usual * PEAK_FACTOR, newest * HEADROOM);
  return highest * HEADROOM <= top || highest <= top
    ? { top: Math.max(minimum, highest * HEADROOM), peak: null }
    : { top, peak: highest };
}
