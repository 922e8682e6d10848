import { fromProposal, toVersionedValue } from '../core/slot-value.ts';
import type { NodeRequest } from './requests.ts';
import type { Statement } from './statements.ts';

type Request<K extends NodeRequest['kind']> = Extract<NodeRequest, { kind: K }>;

const SCHEMA = 'lockstep_leaderless';

export function adoptStatement({ membership, marks }: Request<'adopt'>): Statement {
  const { epoch, cluster, members, next, addresses } = membership;
  return {
    name: 'lockstep_adopt',
    text: `SELECT epoch, next, sealed, floor, slot_floor FROM ${SCHEMA}.adopt($1, $2, $3, $4, $5, $6, $7, $8)`,
    values: [
      epoch,
      cluster,
      members,
      next,
      JSON.stringify(addresses),
      marks.sealed,
      marks.floor,
      marks.slotFloor,
    ],
    decode: ([row]) => {
      const [adopted, fence, sealed, floor, slotFloor] = (row ?? []) as readonly number[];
      return [
        {
          kind: 'adopted',
          epoch: adopted ?? 0,
          next: fence ?? 0,
          marks: { sealed: sealed ?? 0, floor: floor ?? 0, slotFloor: slotFloor ?? 0 },
        },
      ];
    },
  };
}

export function slotsStatement({ after, limit }: Request<'slots'>, epoch: number): Statement {
  return {
    name: 'lockstep_slots',
    text: `SELECT collection, key, accepted, accepted_by, version, value, lineage FROM ${SCHEMA}.slots
      WHERE (collection, key) > ($2 COLLATE "C", $3 COLLATE "C") AND accepted > 0 AND (SELECT ${SCHEMA}.assert_member($1))
      ORDER BY collection, key LIMIT $4`,
    values: [epoch, ...after, limit],
    decode: (rows) => [
      {
        kind: 'slots',
        slots: rows.map(([collection, key, counter, proposer, version, value, lineage]) => ({
          collection: collection as string,
          key: key as string,
          ballot: { counter: counter as number, proposer: proposer as string },
          register: toVersionedValue(version as number, value as string | null, lineage as string),
        })),
      },
    ],
  };
}

export function learnStatement({ slots }: Request<'learn'>, epoch: number): Statement {
  const values = slots.map(({ register }) => fromProposal(register));
  return {
    name: 'lockstep_learn',
    text: `SELECT ${SCHEMA}.learn($1, $2, $3, $4, $5, $6, $7, $8)`,
    values: [
      epoch,
      slots.map(({ collection }) => collection),
      slots.map(({ key }) => key),
      slots.map(({ ballot }) => ballot.counter),
      slots.map(({ ballot }) => ballot.proposer),
      slots.map(({ register }) => register.version),
      values.map(({ value }) => value),
      values.map(({ lineage }) => lineage),
    ],
    decode: () => [{ kind: 'done' }],
  };
}
