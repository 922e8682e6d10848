import type { ConsensusMessage, ConsensusReply, VersionedValue } from '../../consensus/acceptor.ts';
import type { Ballot } from '../../consensus/ballot.ts';
import { keyId } from '../core/cells.ts';
import type { Cell, Store } from '../core/cells.ts';
import type { TrimmedPage } from '../core/trimming.ts';
import type { Membership } from '../core/membership.ts';
import { fromProposal } from '../core/slot-value.ts';

/** The kinds of collections; a collection has one for ever. */
export type KindName = 'lww' | 'siblings' | 'map' | 'set' | 'counter' | 'cart' | 'cas';

/** Where keys of a collection are kept. */
export type KeyStore = Store | 'slots';

export interface CollectionName {
  readonly name: string;
  readonly kind: KindName;
}

/** That a node may lack a key, as it is kept at a node that has it. */
export interface Hint {
  /** System identifier of the node that may lack it. */
  readonly target: string;
  readonly store: Store;
  readonly collection: CollectionName;
  readonly key: string;
}

/** A hint with when it was noted last: one that was noted anew meanwhile is not dropped. */
export interface NotedHint extends Hint {
  readonly noted: string;
}

/** What a coordinator asks of one node. Requests of one kind travel together. */
export type NodeRequest =
  /** Joins the cells into what the node has, all or none. May be repeated. */
  | {
      readonly kind: 'merge';
      readonly collection: CollectionName;
      readonly store: Store;
      readonly cells: readonly Cell[];
      /** These cells were read at a node, and are no new write. */
      readonly isRepair?: true;
    }
  | {
      readonly kind: 'read';
      readonly collection: CollectionName;
      readonly store: Store;
      readonly key: string;
    }
  /** One step of the node's acceptor. Never sent twice. */
  | {
      readonly kind: 'consensus';
      readonly collection: CollectionName;
      readonly key: string;
      readonly message: ConsensusMessage;
      /** Of the members that its round goes by. */
      readonly epoch: number;
    }
  /** Keys of a collection from `from` on and below `to` (null: no end), in the order of their bytes. */
  | {
      readonly kind: 'keys';
      readonly collection: CollectionName;
      readonly store: KeyStore;
      readonly from: string;
      readonly to: string | null;
      readonly limit: number;
    }
  /** What differs whenever the key was changed at this node. */
  | {
      readonly kind: 'mark';
      readonly collection: CollectionName;
      readonly store: KeyStore;
      readonly key: string;
    }
  /** Frees values whose life ended before a time. */
  | { readonly kind: 'purge'; readonly beforeMs: number; readonly limit: number }
  /** Takes out names of registers that changed again, from a change on; `limit` counts transactions. */
  | { readonly kind: 'trim'; readonly from: number; readonly limit: number }
  | { readonly kind: 'hint'; readonly hint: Hint }
  /** The oldest hints for a node. */
  | { readonly kind: 'take-hints'; readonly target: string; readonly limit: number }
  | { readonly kind: 'drop-hints'; readonly hints: readonly NotedHint[] }
  /** Cells that changed from a change number on, the first ones first; registers without their values. */
  | { readonly kind: 'changes'; readonly store: Store; readonly from: number; readonly limit: number }
  | { readonly kind: 'lacking'; readonly store: Store; readonly cells: readonly Cell[] }
  /** How far the node has seen another one's changes. */
  | { readonly kind: 'seen'; readonly source: string; readonly store: Store }
  | {
      readonly kind: 'note-seen';
      readonly source: string;
      readonly store: Store;
      readonly seen: number;
      /** The node has what the other one changed just before. */
      readonly isLevel: boolean;
    }
  /** A digest of the cells that changed from a number on, where they are no more than `limit`. */
  | {
      readonly kind: 'digest';
      readonly store: Store;
      readonly from: number;
      readonly limit: number;
      /** Drawn for each comparison, so that nobody can write keys whose digests are the same. */
      readonly seed: number;
    }
  /** From now on nothing new is taken whose time is not after `at`, or after what the node keeps by its own clock. */
  | { readonly kind: 'seal'; readonly at: number; readonly keepMs: number; readonly epoch: number }
  /** Forgets tombstones up to `floor` that changed below these numbers, some at a time. */
  | {
      readonly kind: 'collect';
      readonly floor: number;
      readonly confirmed: Readonly<Record<Store, number>>;
      readonly limit: number;
      readonly epoch: number;
    }
  /** Slots whose value was taken away longer ago than what is kept. */
  | { readonly kind: 'deleted-slots'; readonly keepMs: number; readonly limit: number }
  /** Forgets slots that still are as told, and raises the node's floor for ballots to what was promised. */
  | { readonly kind: 'erase'; readonly slots: readonly ErasableSlot[]; readonly epoch: number }
  /** The node goes by these members from now on, and its marks are no lower than these. */
  | { readonly kind: 'adopt'; readonly membership: Membership; readonly marks: NodeMarks }
  /** Slots in the order of their names, after one. */
  | {
      readonly kind: 'slots';
      readonly after: readonly [collection: string, key: string];
      readonly limit: number;
      readonly epoch: number;
    }
  /** Takes over what other acceptors accepted, where it is newer than what the node has. */
  | { readonly kind: 'learn'; readonly slots: readonly AcceptedSlot[]; readonly epoch: number };

/** What an acceptor has accepted for one slot. */
export interface AcceptedSlot {
  readonly collection: string;
  readonly key: string;
  readonly ballot: Ballot;
  readonly register: VersionedValue;
}

/** Times and ballots below which a node takes nothing new. */
export interface NodeMarks {
  readonly sealed: number;
  readonly floor: number;
  readonly slotFloor: number;
}

/** A slot that every node accepted as deleted under one ballot, which promised the next. */
export interface ErasableSlot {
  readonly collection: CollectionName;
  readonly key: string;
  readonly accepted: Ballot;
  readonly promised: Ballot;
}

export type NodeReply =
  | { readonly kind: 'done' }
  /** `floor`: of a read, below which the node has forgotten deletions. */
  | { readonly kind: 'cells'; readonly cells: readonly Cell[]; readonly floor?: number }
  | { readonly kind: 'consensus'; readonly reply: ConsensusReply }
  | { readonly kind: 'hints'; readonly hints: readonly NotedHint[] }
  | {
      readonly kind: 'changes';
      readonly changes: readonly { readonly cell: Cell; readonly collection: CollectionName }[];
      /** Everything below this number has been given. */
      readonly next: number;
      /** Nothing more has changed by now. */
      readonly isWhole: boolean;
    }
  /** `own`: the node's own counter when it had all that the other one had. */
  | { readonly kind: 'seen'; readonly seen: number; readonly own: number }
  /** Of all changes below `next`; null when they are more than asked for. */
  | { readonly kind: 'digest'; readonly count: number; readonly digest: string | null; readonly next: number }
  /** `isWhole`: there are no more. */
  | { readonly kind: 'keys'; readonly keys: readonly string[]; readonly isWhole: boolean }
  | { readonly kind: 'mark'; readonly mark: string }
  | { readonly kind: 'purged'; readonly count: number }
  | ({ readonly kind: 'trimmed' } & TrimmedPage)
  /** Everything that was taken before is numbered below `next`. */
  | { readonly kind: 'sealed'; readonly at: number; readonly next: number }
  | { readonly kind: 'forgotten'; readonly count: number }
  /** The epoch that the node goes by now. What went by an older one is numbered below `next`. */
  | { readonly kind: 'adopted'; readonly epoch: number; readonly next: number; readonly marks: NodeMarks }
  | { readonly kind: 'slots'; readonly slots: readonly AcceptedSlot[] }
  | {
      readonly kind: 'deleted-slots';
      readonly slots: readonly {
        readonly collection: CollectionName;
        readonly key: string;
        readonly promised: Ballot;
      }[];
    };

/** A writer's clock that a node does not accept, or a request that does not fit what is there. */
export type Refusal = 'CLOCK_SKEW' | 'CONFIG_INVALID';

/** Why a node did not answer. */
export class NodeFailure extends Error {
  /** Whether the node may have done what was asked. */
  readonly wasSent: boolean;
  /** Why the node would refuse every repetition as well; null when it might do it yet. */
  readonly refusal: Refusal | null;

  constructor(
    message: string,
    options: { readonly wasSent: boolean; readonly refusal?: Refusal | null; readonly cause?: unknown },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'NodeFailure';
    this.wasSent = options.wasSent;
    this.refusal = options.refusal ?? null;
  }
}

/** Requests that one statement can answer share a lane. */
export type Lane = string;

/** Whole texts: to put them together for every request would cost more than to find the lane. */
const MERGE_LANES: Readonly<Record<Store, Lane>> = { registers: 'merge registers', tallies: 'merge tallies' };
const READ_LANES: Readonly<Record<Store, Lane>> = { registers: 'read registers', tallies: 'read tallies' };

export function laneOf(request: NodeRequest): Lane {
  switch (request.kind) {
    case 'merge':
      return request.isRepair === true ? `repair ${request.store}` : MERGE_LANES[request.store];
    case 'read':
      return READ_LANES[request.store];
    case 'keys':
    case 'mark':
      return `${request.kind} ${request.store}`;
    case 'consensus':
      return `${request.message.kind} ${request.epoch}`;
    case 'purge':
    case 'trim':
    case 'hint':
    case 'drop-hints':
    case 'seal':
    case 'collect':
    case 'deleted-slots':
    case 'erase':
    case 'adopt':
    case 'slots':
    case 'learn':
      return request.kind;
    case 'take-hints':
      return `${request.kind} ${request.target}`;
    case 'changes':
    case 'lacking':
    case 'seen':
    case 'note-seen':
    case 'digest':
      return `${request.kind} ${request.store}`;
  }
}

const ONE_AT_A_TIME: ReadonlySet<NodeRequest['kind']> = new Set([
  'keys',
  'purge',
  'trim',
  'take-hints',
  'changes',
  'lacking',
  'seen',
  'note-seen',
  'digest',
  'seal',
  'collect',
  'deleted-slots',
  'erase',
  'adopt',
  'slots',
  'learn',
]);

/** What a statement may name once; merges may name a key often, because they are joined first. */
export function exclusiveKey(request: NodeRequest): string | null {
  if (ONE_AT_A_TIME.has(request.kind)) return '';
  return request.kind === 'consensus' ? keyId(request.collection.name, request.key) : null;
}

/** The collection whose kind the node must agree to; null where it does not matter. */
export function collectionOf(request: NodeRequest): CollectionName | null {
  return 'collection' in request ? request.collection : null;
}

/** About how much memory a waiting request takes. */
export function bytesOf(request: NodeRequest): number {
  switch (request.kind) {
    case 'merge':
      return bytesOfCells(request.cells);
    case 'consensus': {
      const { message } = request;
      const value = message.kind === 'accept' ? (fromProposal(message.proposal).value?.length ?? 0) : 0;
      return 400 + request.key.length + 2 * value;
    }
    case 'drop-hints':
      return 200 + 200 * request.hints.length;
    case 'lacking':
      return 200 + 200 * request.cells.length;
    case 'read':
    case 'keys':
    case 'mark':
    case 'purge':
    case 'trim':
    case 'hint':
    case 'take-hints':
    case 'changes':
    case 'seen':
    case 'note-seen':
    case 'digest':
    case 'seal':
    case 'collect':
    case 'deleted-slots':
    case 'adopt':
    case 'slots':
      return 300;
    case 'learn':
      return request.slots.reduce(
        (sum, { register }) => sum + 400 + 2 * (fromProposal(register).value?.length ?? 0),
        200,
      );
    case 'erase':
      return 200 + 300 * request.slots.length;
  }
}

/** About how much memory a request with these cells takes. */
export function bytesOfCells(cells: readonly Cell[]): number {
  let bytes = 200;
  for (const cell of cells) bytes += 150 + sizeOfCell(cell);
  return bytes;
}

function sizeOfCell(cell: Cell): number {
  return cell.store === 'registers'
    ? 2 * (cell.key.length + cell.field.length + (cell.value?.length ?? 0))
    : 2 * (cell.key.length + cell.item.length);
}

/** One node, as its queue sees it. */
export interface NodeTransport {
  /** How many more statements it takes now; 0 while it cannot be reached. */
  readonly idle: number;
  /** Whether it can be reached at all: if not, nothing waits for it. */
  readonly isUp: boolean;
  /**
   * One statement for requests of one lane. Answers in their order, each with its own failure if there is one; rejects with a
   * {@link NodeFailure} when the statement failed for all.
   */
  send(requests: readonly NodeRequest[]): Promise<readonly (NodeReply | NodeFailure)[]>;
  /** Told when `idle` or `isUp` may have changed. */
  onChange: () => void;
}
