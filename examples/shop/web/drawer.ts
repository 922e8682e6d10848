import { html } from 'hono/html';
import type { ClientNode, StatementLogEntry } from '../../../src/index.ts';
import type { Html } from './layout.ts';

/** What stood behind a page: which node answered each query, and what the visitor's session knows. */
export interface BehindPage {
  readonly statements: readonly StatementLogEntry[];
  readonly nodes: readonly ClientNode[];
  /** The session's token without its signature; null before it has seen anything. */
  readonly token: string | null;
  /** Whether the page shows something that the visitor bought, which must rest on disks. */
  readonly showsOrders: boolean;
}

const LONGEST_STATEMENT = 96;

/** Closed until somebody looks. It works without a script. */
export function renderDrawer({ statements, nodes, token, showsOrders }: BehindPage): Html {
  const served = statements.find((entry) => entry.error === null);
  const followers = statements.filter((entry) => entry.role === 'follower').length;
  return html`<details class="drawer">
    <summary>
      <i class="${served?.role ?? ''}"></i>
      ${
        served === undefined
          ? 'Nothing was read for this page'
          : html`<span
              >Read from <b>${served.node}</b>, a ${served.role}, in ${served.ms.toFixed(1)} ms</span
            >`
      }
      <span class="more">behind this page</span>
    </summary>
    <div class="drawer-in">
      <section>
        <h2>
          ${statements.length} ${statements.length === 1 ? 'query' : 'queries'}, ${followers} on followers
        </h2>
        <ol class="queries">
          ${statements.map(renderStatement)}
        </ol>
      </section>
      <section>
        <h2>Nodes</h2>
        <ul class="disks">
          ${nodes.map((node) => renderNode(node, token, showsOrders))}
        </ul>
        <p class="quiet">
          ${
            token === null
              ? 'This session has seen nothing yet: any follower may answer it.'
              : html`Session token <code>${token}</code>: a follower answers once it has replayed that far.`
          }
        </p>
      </section>
    </div>
  </details>`;
}

function renderStatement({ statement, node, role, ms, reason, error }: StatementLogEntry): Html {
  const text = statement.replace(/\s+/g, ' ').trim();
  const short = text.length > LONGEST_STATEMENT ? `${text.slice(0, LONGEST_STATEMENT - 1)}…` : text;
  return html`<li>
    <span class="who"><i class="${role}"></i><b>${node}</b> ${ms.toFixed(1)} ms</span>
    <code title="${text}">${short}</code>
    <span class="quiet">${error === null ? reason : html`failed with ${error}: ${reason}`}</span>
  </li>`;
}

function renderNode(node: ClientNode, token: string | null, showsOrders: boolean): Html {
  const lag =
    node.role === 'leader'
      ? 'sets the pace'
      : node.lagBytes === null
        ? 'lag unknown'
        : node.lagBytes === 0
          ? 'nothing behind'
          : `${node.lagBytes.toLocaleString('en')} bytes behind`;
  const holds = showsOrders && token !== null ? (holdsAll(node, token) ? 'holds your orders' : '') : '';
  return html`<li>
    <i class="${node.isUp ? node.role : 'down'}"></i><b>${node.name}</b>
    <span>${node.isUp ? `${node.role}, ${lag}` : 'does not answer'}</span>
    ${holds === '' ? '' : html`<em>${holds}</em>`}
  </li>`;
}

/**
 * Whether the node was seen at or past what the session has seen, on the same timeline: everything that the session
 * wrote is then on that node's disk. A node that is not known to be may hold it all the same.
 */
export function holdsAll(node: Pick<ClientNode, 'timeline' | 'lsn'>, token: string): boolean {
  const match = /^(\d+)-([0-9A-F]+)\/([0-9A-F]+)/i.exec(token);
  if (match === null || node.lsn === null || node.timeline !== Number(match[1])) return false;
  return positionOf(node.lsn) >= positionOf(`${match[2]}/${match[3]}`);
}

/** PostgreSQL writes a position in its log as two hexadecimal halves. */
function positionOf(lsn: string): bigint {
  const [high = '0', low = '0'] = lsn.split('/');
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}
