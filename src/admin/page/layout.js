/** @typedef {import('../../model/topology.ts').Topology} Topology */

/**
 * @typedef {object} Place
 * @property {number} x
 * @property {number} y
 */

/**
 * @typedef {object} Layout
 * @property {number} width
 * @property {number} height
 * @property {Place} seat where the leader stands, or would
 * @property {Record<string, Place>} places centre of every node
 */

const SEAT_Y = 82;
const FIRST_ROW_Y = 248;
const ROW_HEIGHT = 138;
const CELL_WIDTH = 100;
const BELOW_LAST_ROW = 84;

/**
 * The leader in its seat at the top, everyone else in rows below, ordered by name.
 * @param {Topology} topology
 * @param {number} width in pixels, so that text keeps its size
 * @returns {Layout}
 */
export function layoutTopology(topology, width) {
  const seat = { x: width / 2, y: SEAT_Y };
  const others = topology.nodes
    .map((node) => node.name)
    .filter((name) => name !== topology.leader)
    .sort((a, b) => a.localeCompare(b));
  const perRow = Math.max(1, Math.floor((width - 16) / CELL_WIDTH));
  const rows = Math.max(1, Math.ceil(others.length / perRow));
  /** @type {Record<string, Place>} */
  const places = {};
  if (topology.leader !== null) places[topology.leader] = seat;
  for (const [index, name] of others.entries()) {
    const row = Math.floor(index / perRow);
    const inRow = row < rows - 1 ? perRow : others.length - perRow * (rows - 1);
    const cell = Math.min(width / inRow, 236);
    const left = (width - cell * inRow) / 2;
    places[name] = { x: left + cell * ((index % perRow) + 0.5), y: FIRST_ROW_Y + row * ROW_HEIGHT };
  }
  return { width, height: FIRST_ROW_Y + (rows - 1) * ROW_HEIGHT + BELOW_LAST_ROW, seat, places };
}
