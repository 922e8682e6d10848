import { LockstepError } from '../../model/errors.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { Change, TransactionPart } from '../core/change.ts';
import type { Relation } from '../core/relation.ts';
import type { Catalog } from './catalog.ts';
import type { TablePlan } from './core/table-plan.ts';
import { MisfitError, TextOnlyError, UnknownTableError } from './trouble.ts';

export interface StreamedTablesOptions {
  readonly catalog: Catalog;
  readonly format: 'binary' | 'text';
  /** By `schema.name`: up to where a table's copy has its changes already. Other tables are unknown. */
  readonly copiedAt: ReadonlyMap<string, Lsn>;
}

/** The tables whose changes come in a stream: how each is written at the target, and from where on. */
export class StreamedTables {
  readonly #options: StreamedTablesOptions;
  readonly #plans = new Map<Relation, TablePlan>();

  constructor(options: StreamedTablesOptions) {
    this.#options = options;
  }

  /** The changes that the target lacks, with a plan for each of their tables. */
  async changesFor(part: TransactionPart): Promise<readonly Change[]> {
    const { copiedAt } = this.#options;
    let isWhole = true;
    let known: Relation | null = null;
    for (const change of part.changes) {
      if (change.kind === 'message') continue;
      for (const relation of change.kind === 'truncate' ? change.relations : [change.relation]) {
        if (relation === known) continue;
        if (!this.#plans.has(relation)) this.#plans.set(relation, await this.#plan(relation));
        known = relation;
        if (part.commitLsn < (copiedAt.get(tableName(relation)) ?? 0n)) isWhole = false;
      }
    }
    if (isWhole) return part.changes;
    const isCopied = (relation: Relation): boolean =>
      part.commitLsn < (copiedAt.get(tableName(relation)) ?? 0n);
    return part.changes.flatMap((change): Change[] => {
      if (change.kind === 'message') return [];
      if (change.kind !== 'truncate') return isCopied(change.relation) ? [] : [change];
      const relations = change.relations.filter((relation) => !isCopied(relation));
      return relations.length === 0 ? [] : [{ ...change, relations }];
    });
  }

  /** The plan that {@link changesFor} made. */
  readonly planOf: (relation: Relation) => TablePlan = (relation) => {
    const plan = this.#plans.get(relation);
    if (plan === undefined) {
      throw new LockstepError('INVARIANT', `No plan was made for table ${relation.name}.`);
    }
    return plan;
  };

  async #plan(relation: Relation): Promise<TablePlan> {
    const { catalog, format, copiedAt } = this.#options;
    if (!copiedAt.has(tableName(relation))) throw new UnknownTableError(relation);
    const result = await catalog.plan(relation, format);
    if (result.kind === 'plan') return result.plan;
    throw result.kind === 'misfit' ? new MisfitError(result.sentence) : new TextOnlyError();
  }
}

function tableName({ schema, name }: Relation): string {
  return `${schema}.${name}`;
}
