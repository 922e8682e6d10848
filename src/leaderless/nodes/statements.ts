import type { ConsensusMessage, ConsensusReply } from '../../consensus/acceptor.ts';
import { keyId } from '../core/cells.ts';
import type { Cell, Store } from '../core/cells.ts';
import { fromProposal, toVersionedValue } from '../core/slot-value.ts';
import { bigintArray, textArray, textColumn } from './arrays.ts';
import { NodeFailure } from './requests.ts';
import type { Hint, KindName, NodeReply, NodeRequest } from './requests.ts';

/** One prepared statement, its parameters, and what its rows mean for each request. */
export interface Statement {
  readonly name: string;
  readonly text: string;
  readonly values: readonly unknown[];
  decode(rows: readonly Row[]): readonly (NodeReply | NodeFailure)[];
}

type Row = readonly unknown[];
type Request<K extends NodeRequest['kind']> = Extract<NodeRequest, { kind: K }>;

const SCHEMA = 'lockstep_leaderless';
const DONE: NodeReply = { kind: 'done' };
const ACCEPTED: NodeReply = { kind: 'consensus', reply: { kind: 'accepted' } };

/** A row as it is stored: collection, key and what the store keeps beside them, without its change. */
export function decodeCell(store: Store, row: Row): Cell {
  const [collection, key, third, fourth, fifth, sixth, seventh] = row;
  if (store === 'registers') {
    return {
      store,
      collection: collection as string,
      key: key as string,
      field: third as string,
      value: fourth as string | null,
      at: fifth as number,
      writer: sixth as string,
      expiresAtMs: seventh as number | null,
    };
  }
  return {
    store,
    collection: collection as string,
    key: key as string,
    item: third as string,
    actor: fourth as string,
    added: fifth as number,
    removed: sixth as number,
    bornAt: seventh as number,
  };
}

const OWN_COLUMNS: Readonly<Record<Store, string>> = {
  registers: 'r.field, r.value, r.at, r.writer, r.expires_at_ms',
  tallies: 'r.item, r.actor, r.added, r.removed, r.born_at',
};

/** Rows start with the ordinal of the key, from 1: its name need not come back. */
export function readStatement(requests: readonly Request<'read'>[], store: Store, epoch: number): Statement {
  const asked = new Map<string, number>();
  const distinct: Request<'read'>[] = [];
  const places = requests.map((request): number => {
    const id = keyId(request.collection.name, request.key);
    const known = asked.get(id);
    if (known !== undefined) return known;
    asked.set(id, distinct.length);
    return distinct.push(request) - 1;
  });
  return {
    name: `lockstep_read_${store}`,
    text: `SELECT u.o, ${OWN_COLUMNS[store]}, n.floor
      FROM ${SCHEMA}.node n CROSS JOIN unnest($2::text[], $3::text[]) WITH ORDINALITY AS u(c, k, o)
      LEFT JOIN ${SCHEMA}.${store} r ON r.collection = coalesce(u.c, ($2::text[])[1]) AND r.key = u.k WHERE (SELECT ${SCHEMA}.assert_member($1))`,
    values: [
      epoch,
      textColumn(distinct.map(({ collection }) => collection.name)),
      textArray(distinct.map(({ key }) => key)),
    ],
    decode(rows) {
      const floor = (rows[0]?.[6] as number | undefined) ?? 0;
      const found: Cell[][] = distinct.map(() => []);
      for (const row of rows) {
        const place = Number(row[0]) - 1;
        const request = distinct[place];
        // A key that is not there has one row without any cell.
        if (request === undefined || row[1] === null) continue;
        const { collection, key } = request;
        found[place]?.push(decodeCell(store, [collection.name, key, ...row.slice(1, 6)]));
      }
      return places.map((place) => ({ kind: 'cells', cells: found[place] ?? [], floor }));
    },
  };
}

export function hintStatement(requests: readonly Request<'hint'>[]): Statement {
  return {
    name: 'lockstep_hint',
    text: `INSERT INTO ${SCHEMA}.hints (target, store, collection, key)
      SELECT DISTINCT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS u(t, s, c, k) ORDER BY 1, 2, 3, 4
      ON CONFLICT (target, store, collection, key) DO UPDATE SET noted = excluded.noted`,
    values: hintColumns(requests.map(({ hint }) => hint)),
    decode: () => requests.map(() => DONE),
  };
}

function hintColumns(hints: readonly Hint[]): readonly unknown[][] {
  return [
    hints.map(({ target }) => target),
    hints.map(({ store }) => store),
    hints.map(({ collection }) => collection.name),
    hints.map(({ key }) => key),
  ];
}

export function takeHintsStatement({ target, limit }: Request<'take-hints'>): Statement {
  return {
    name: 'lockstep_take_hints',
    text: `SELECT h.store, h.collection, c.kind, h.key, h.noted::text FROM ${SCHEMA}.hints h
      JOIN ${SCHEMA}.collections c ON c.name = h.collection WHERE h.target = $1 ORDER BY h.noted LIMIT $2`,
    values: [target, limit],
    decode: (rows) => [
      {
        kind: 'hints',
        hints: rows.map(([store, name, kind, key, noted]) => ({
          target,
          store: store as Store,
          collection: { name: name as string, kind: kind as KindName },
          key: key as string,
          noted: noted as string,
        })),
      },
    ],
  };
}

export function dropHintsStatement(requests: readonly Request<'drop-hints'>[]): Statement {
  const hints = requests.flatMap((request) => request.hints);
  return {
    name: 'lockstep_drop_hints',
    text: `DELETE FROM ${SCHEMA}.hints h USING unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS u(t, s, c, k, n)
      WHERE h.target = u.t AND h.store = u.s AND h.collection = u.c AND h.key = u.k AND h.noted = u.n::xid8`,
    values: [...hintColumns(hints), hints.map(({ noted }) => noted)],
    decode: () => requests.map(() => DONE),
  };
}

type MessageOf<K extends ConsensusMessage['kind']> = Extract<ConsensusMessage, { kind: K }>;

export function consensusStatement(
  requests: readonly Request<'consensus'>[],
  kind: ConsensusMessage['kind'],
  epoch: number,
): Statement {
  const names = requests.map(({ collection }) => collection.name);
  const keys = requests.map(({ key }) => key);
  const messages = requests.map(({ message }) => message);
  switch (kind) {
    case 'prepare':
      return prepareStatement(names, keys, messages as readonly MessageOf<'prepare'>[], epoch);
    case 'accept':
      return acceptStatement(names, keys, messages as readonly MessageOf<'accept'>[], epoch);
    case 'peek':
      return peekStatement(names, keys, epoch);
  }
}

/** Rows start with the request's ordinal from 1. */
function byOrdinal(
  count: number,
  rows: readonly Row[],
  decode: (row: Row, index: number) => ConsensusReply,
): readonly (NodeReply | NodeFailure)[] {
  const replies = Array.from<NodeReply | undefined>({ length: count });
  for (const row of rows) {
    const index = Number(row[0]) - 1;
    replies[index] = { kind: 'consensus', reply: decode(row, index) };
  }
  return replies.map(
    (reply) => reply ?? new NodeFailure('the node left a key unanswered', { wasSent: true }),
  );
}

/**
 * The ballot that stood in the way. It is read with the statement's snapshot, which may be older than the row that refused:
 * then it is known only that it is higher than the proposer's.
 */
function rejectedBy(row: Row, own: { readonly counter: number }): ConsensusReply {
  const counter = Math.max(row[2] as number, own.counter + 1);
  return { kind: 'reject', promised: { counter, proposer: row[3] as string } };
}

function prepareStatement(
  names: readonly string[],
  keys: readonly string[],
  messages: readonly MessageOf<'prepare'>[],
  epoch: number,
): Statement {
  return {
    name: 'lockstep_prepare',
    text: `SELECT * FROM ${SCHEMA}.prepare($1, $2, $3, $4, $5)`,
    values: [
      epoch,
      textColumn(names),
      textArray(keys),
      bigintArray(messages.map(({ ballot }) => ballot.counter)),
      textColumn(messages.map(({ ballot }) => ballot.proposer)),
    ],
    decode: (rows) =>
      byOrdinal(messages.length, rows, (row, index) => {
        const ballot = messages[index]?.ballot ?? { counter: 0, proposer: '' };
        if (row[1] !== true) return rejectedBy(row, ballot);
        return {
          kind: 'promise',
          acceptedBallot: { counter: row[2] as number, proposer: row[3] as string },
          accepted: toVersionedValue(row[4] as number, row[5] as string | null, row[6] as string),
        };
      }),
  };
}

function acceptStatement(
  names: readonly string[],
  keys: readonly string[],
  messages: readonly MessageOf<'accept'>[],
  epoch: number,
): Statement {
  const proposals = messages.map(({ proposal }) => fromProposal(proposal));
  const areNextOnes = messages.every(({ ballot, next }) => next?.counter === ballot.counter + 1);
  return {
    name: 'lockstep_accept',
    text: `SELECT * FROM ${SCHEMA}.accept($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    values: [
      epoch,
      textColumn(names),
      textArray(keys),
      bigintArray(messages.map(({ ballot }) => ballot.counter)),
      textColumn(messages.map(({ ballot }) => ballot.proposer)),
      bigintArray(areNextOnes ? [] : messages.map(({ ballot, next }) => (next ?? ballot).counter)),
      bigintArray(messages.map(({ proposal }) => proposal.version)),
      textArray(proposals.map(({ value }) => value)),
      textArray(proposals.map(({ lineage }) => lineage)),
    ],
    decode: (rows) =>
      rows.length === 0
        ? messages.map(() => ACCEPTED)
        : byOrdinal(messages.length, rows, (row, index) =>
            row[1] === true
              ? { kind: 'accepted' }
              : rejectedBy(row, messages[index]?.ballot ?? { counter: 0 }),
          ),
  };
}

function peekStatement(names: readonly string[], keys: readonly string[], epoch: number): Statement {
  return {
    name: 'lockstep_peek',
    text: `SELECT u.o, s.promised, s.promised_by, s.accepted, s.accepted_by, s.version, s.value, s.lineage
      FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS u(c, k, o)
      LEFT JOIN ${SCHEMA}.slots s ON s.collection = coalesce(u.c, ($2::text[])[1]) AND s.key = u.k WHERE (SELECT ${SCHEMA}.assert_member($1))`,
    values: [epoch, textColumn(names), textArray(keys)],
    decode: (rows) =>
      byOrdinal(keys.length, rows, (row) => ({
        kind: 'state',
        promised: { counter: (row[1] as number | null) ?? 0, proposer: (row[2] as string | null) ?? '' },
        acceptedBallot: {
          counter: (row[3] as number | null) ?? 0,
          proposer: (row[4] as string | null) ?? '',
        },
        accepted: toVersionedValue(
          (row[5] as number | null) ?? 0,
          row[6] as string | null,
          (row[7] as string | null) ?? '',
        ),
      })),
  };
}
