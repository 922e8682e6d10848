import { formatBytes, lagText, unmeantLag } from '../../admin/page/format.js';
import type { NodeTopology, Topology } from '../../model/topology.ts';
import { span } from './styled-line.ts';
import type { Span, Style } from './styled-line.ts';
import { textWidth, wrapText } from './text-width.ts';

const BAR_CELLS = 6;
const GAP = '  ';

interface Column {
  readonly title: string;
  /** The first to go where the terminal is too narrow is the one with the highest number; 0 always stays. */
  readonly dropOrder: number;
  readonly cell: (node: NodeTopology, topology: Topology) => Span;
}

const LEADING: readonly Column[] = [
  { title: ' ', dropOrder: 0, cell: (node) => span(nodeSymbol(node), nodeStyle(node)) },
  { title: 'NODE', dropOrder: 0, cell: (node) => span(node.name, 'bold') },
  {
    title: 'ROLE',
    dropOrder: 0,
    cell: (node) => span(roleText(node), nodeStyle(node)),
  },
  { title: 'STATE', dropOrder: 0, cell: (node) => span(node.state, stateStyle(node)) },
  { title: 'SYNC', dropOrder: 1, cell: syncCell },
  { title: 'LAG', dropOrder: 2, cell: (node) => span(node.role === 'leader' ? '–' : lagText(node), 'plain') },
];

const BAR: Column = { title: '', dropOrder: 3, cell: barCell };

const TRAILING: readonly Column[] = [
  { title: 'BEHIND', dropOrder: 5, cell: (node) => span(behindText(node)) },
  { title: 'RECEIVED', dropOrder: 7, cell: (node) => span(node.receivedLsn ?? '–') },
  { title: 'REPLAYED', dropOrder: 8, cell: (node) => span(node.replayedLsn ?? '–') },
  { title: 'TL', dropOrder: 9, cell: (node) => span(String(node.timeline ?? '–')) },
  { title: 'ADDRESS', dropOrder: 6, cell: (node) => span(addressText(node)) },
];

const VERSION: Column = {
  title: 'VERSION',
  dropOrder: 10,
  cell: (node) => span(node.postgresVersion ?? '–'),
};

const DETAIL: Column = { title: 'DETAIL', dropOrder: 4, cell: (node) => span(node.detail ?? '', 'warn') };

/**
 * The nodes as lines of spans: a heading, then one line each in order of names. Columns that do not fit are left out; what
 * is the matter with a node is told below then.
 */
export function layoutNodeTable(
  topology: Topology,
  columns: number,
  withBars: boolean,
): readonly (readonly Span[])[] {
  const nodes = [...topology.nodes].sort((a, b) => a.name.localeCompare(b.name));
  const all: readonly Column[] = [
    ...LEADING,
    ...(withBars ? [BAR] : []),
    ...TRAILING,
    ...(nodes.some((node) => node.postgresVersion != null) ? [VERSION] : []),
  ];
  const hasDetail = nodes.some((node) => node.detail !== null);
  const withDetail = fitColumns(hasDetail ? [...all, DETAIL] : all, nodes, topology, columns);
  const isTold = !hasDetail || withDetail.includes(DETAIL);
  const shown = isTold ? withDetail : fitColumns(all, nodes, topology, columns);
  const widths = shown.map((column) => columnWidth(column, nodes, topology));
  const heading = shown.map((column) => span(column.title, 'dim'));
  const rows = nodes.map((node) => shown.map((column) => column.cell(node, topology)));
  const table = [heading, ...rows].map((cells) => alignCells(cells, widths));
  return isTold ? table : [...table, ...nodes.flatMap((node) => detailLines(node, columns))];
}

function fitColumns(
  all: readonly Column[],
  nodes: readonly NodeTopology[],
  topology: Topology,
  columns: number,
): readonly Column[] {
  let shown = all;
  while (tableWidth(shown, nodes, topology) > columns) {
    const last = Math.max(...shown.map((column) => column.dropOrder));
    if (last === 0) break;
    shown = shown.filter((column) => column.dropOrder !== last);
  }
  return shown;
}

function detailLines({ name, detail }: NodeTopology, columns: number): readonly (readonly Span[])[] {
  if (detail === null) return [];
  const lines = wrapText(`${name}: ${detail}`, columns, '  ');
  return lines.map((line) => [span(line, 'warn')]);
}

/** `★` leads, `●` synchronous, `○` asynchronous, `◔` delayed, `◇` only votes, `◐` on its way, `✗` away. */
export function nodeSymbol(node: NodeTopology): string {
  if (node.state === 'stopped' || node.state === 'unreachable') return '✗';
  if (node.state !== 'running') return '◐';
  if (node.kind === 'witness') return '◇';
  if (node.kind === 'delayed') return '◔';
  if (node.role === 'leader') return '★';
  if (node.role === 'unknown') return '?';
  return node.sync ? '●' : '○';
}

/** The colour that goes with {@link nodeSymbol}. */
export function nodeStyle(node: NodeTopology): Style {
  if (node.state === 'stopped' || node.state === 'unreachable') return 'bad';
  if (node.kind === 'witness' && node.state === 'running') return 'plain';
  if (node.kind === 'delayed' && node.state === 'running') return 'async';
  if (node.state !== 'running' || node.role === 'unknown') return 'warn';
  if (node.role === 'leader') return 'lead';
  return node.sync ? 'sync' : 'async';
}

function roleText({ kind, role }: NodeTopology): string {
  return kind === 'witness' || kind === 'delayed' ? kind : role;
}

function stateStyle(node: NodeTopology): Style {
  return node.state === 'running' ? 'plain' : nodeStyle(node);
}

function syncCell(node: NodeTopology): Span {
  if (node.role !== 'follower' || node.kind === 'delayed') return span('–', 'dim');
  return node.sync ? span('sync', 'sync') : span('async', 'async');
}

function followerLag(node: NodeTopology): number | null {
  return node.role === 'leader' ? null : unmeantLag(node);
}

/** A witness has only an agent. */
function addressText(node: NodeTopology): string {
  return node.kind === 'witness' ? new URL(node.agentUrl).host : `${node.host}:${node.port}`;
}

function behindText(node: NodeTopology): string {
  return node.role === 'leader' ? '–' : formatBytes(node.lagBytes);
}

// Logarithmic: one cell is a millisecond, three are ten, five a hundred, all six a second and more.
function barCell(node: NodeTopology): Span {
  const lagMs = followerLag(node);
  if (lagMs === null) return span(' '.repeat(BAR_CELLS));
  const filled = lagMs < 1 ? 0 : Math.min(BAR_CELLS, 1 + Math.floor(Math.log10(lagMs) * 2));
  const style = filled >= 5 ? 'bad' : filled >= 4 ? 'warn' : 'good';
  return span('■'.repeat(filled) + '·'.repeat(BAR_CELLS - filled), style);
}

function tableWidth(shown: readonly Column[], nodes: readonly NodeTopology[], topology: Topology): number {
  return shown.reduce(
    (width, column) => width + columnWidth(column, nodes, topology) + GAP.length,
    -GAP.length,
  );
}

function columnWidth(column: Column, nodes: readonly NodeTopology[], topology: Topology): number {
  return Math.max(
    textWidth(column.title),
    ...nodes.map((node) => textWidth(column.cell(node, topology).text)),
  );
}

function alignCells(cells: readonly Span[], widths: readonly number[]): readonly Span[] {
  return cells.flatMap((cell, index) => {
    if (index === cells.length - 1) return [cell];
    const padding = Math.max(0, (widths[index] ?? 0) - textWidth(cell.text));
    return [cell, span(' '.repeat(padding) + GAP)];
  });
}
