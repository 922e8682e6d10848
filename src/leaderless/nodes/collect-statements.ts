import type { NodeRequest } from './requests.ts';
import type { Statement } from './statements.ts';

type Request<K extends NodeRequest['kind']> = Extract<NodeRequest, { kind: K }>;

const SCHEMA = 'lockstep_leaderless';

export function sealStatement({ at, keepMs }: Request<'seal'>, epoch: number): Statement {
  return {
    name: 'lockstep_seal',
    text: `SELECT at, next FROM ${SCHEMA}.seal($1, $2, $3)`,
    values: [epoch, at, Math.round(keepMs)],
    decode: ([row]) => [{ kind: 'sealed', at: row?.[0] as number, next: row?.[1] as number }],
  };
}

export function collectStatement({ floor, confirmed, limit }: Request<'collect'>, epoch: number): Statement {
  return {
    name: 'lockstep_collect',
    text: `SELECT ${SCHEMA}.collect($1, $2, $3::text::xid8, $4::text::xid8, $5)`,
    values: [epoch, floor, String(confirmed.registers), String(confirmed.tallies), limit],
    decode: ([row]) => [{ kind: 'forgotten', count: row?.[0] as number }],
  };
}

export function deletedSlotsStatement({ keepMs, limit }: Request<'deleted-slots'>, epoch: number): Statement {
  return {
    name: 'lockstep_deleted_slots',
    text: `SELECT collection, key, promised, promised_by FROM ${SCHEMA}.slots
      WHERE value IS NULL AND deleted_at < now() - $2::float8 * interval '1 ms' AND (SELECT ${SCHEMA}.assert_member($1))
      ORDER BY deleted_at LIMIT $3`,
    values: [epoch, keepMs, limit],
    decode: (rows) => [
      {
        kind: 'deleted-slots',
        slots: rows.map(([name, key, counter, proposer]) => ({
          collection: { name: name as string, kind: 'cas' },
          key: key as string,
          promised: { counter: counter as number, proposer: proposer as string },
        })),
      },
    ],
  };
}

export function eraseStatement({ slots }: Request<'erase'>, epoch: number): Statement {
  return {
    name: 'lockstep_erase',
    text: `SELECT ${SCHEMA}.erase($1, $2, $3, $4, $5, $6)`,
    values: [
      epoch,
      slots.map(({ collection }) => collection.name),
      slots.map(({ key }) => key),
      slots.map(({ accepted }) => accepted.counter),
      slots.map(({ promised }) => promised.counter),
      slots.map(({ accepted }) => accepted.proposer),
    ],
    decode: ([row]) => [{ kind: 'forgotten', count: row?.[0] as number }],
  };
}
