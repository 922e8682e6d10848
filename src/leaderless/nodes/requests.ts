import type { ConsensusMessage, ConsensusReply } from '../../consensus/acceptor.ts';
import { keyId } from '../core/cells.ts';
import type { Cell, Store } from '../core/cells.ts';
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
  | { readonly kind: 'hint'; readonly hint: Hint }
  /** The oldest hints for a node. */
  | { readonly kind: 'take-hints'; readonly target: string; readonly limit: number }
  | { readonly kind: 'drop-hints'; readonly hints: readonly NotedHint[] }
  /** Cells that changed from a change number on, the first ones first; registers without their values. */
  | { readonly kind: 'changes'; readonly store: Store; readonly from: number; readonly limit: number }
  | { readonly kind: 'lacking'; readonly store: Store; readonly cells: readonly Cell[] }
  /** How far the node has seen another one's changes. */
  | { readonly kind: 'seen'; readonly source: string; readonly store: Store }
  | { readonly kind: 'note-seen'; readonly source: string; readonly store: Store; readonly seen: number };

export type NodeReply =
  | { readonly kind: 'done' }
  | { readonly kind: 'cells'; readonly cells: readonly Cell[] }
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
  | { readonly kind: 'seen'; readonly seen: number }
  /** `isWhole`: there are no more. */
  | { readonly kind: 'keys'; readonly keys: readonly string[]; readonly isWhole: boolean }
  | { readonly kind: 'mark'; readonly mark: string }
  | { readonly kind: 'purged'; readonly count: number };

/** Why a node did not answer. */
export class NodeFailure extends Error {
  /** Whether the node may have done what was asked. */
  readonly wasSent: boolean;
  /** Set when every repetition would be refused as well. */
  readonly isRefusal: boolean;

  constructor(
    message: string,
    options: { readonly wasSent: boolean; readonly isRefusal?: boolean; readonly cause?: unknown },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'NodeFailure';
    this.wasSent = options.wasSent;
    this.isRefusal = options.isRefusal ?? false;
  }
}

/** Requests that one statement can answer share a lane. */
export type Lane = string;

export function laneOf(request: NodeRequest): Lane {
  switch (request.kind) {
    case 'merge':
    case 'read':
    case 'keys':
    case 'mark':
      return `${request.kind} ${request.store}`;
    case 'consensus':
      return request.message.kind;
    case 'purge':
    case 'hint':
    case 'drop-hints':
      return request.kind;
    case 'take-hints':
      return `${request.kind} ${request.target}`;
    case 'changes':
    case 'lacking':
    case 'seen':
    case 'note-seen':
      return `${request.kind} ${request.store}`;
  }
}

const ONE_AT_A_TIME: ReadonlySet<NodeRequest['kind']> = new Set([
  'keys',
  'purge',
  'take-hints',
  'changes',
  'lacking',
  'seen',
  'note-seen',
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
      return request.cells.reduce((sum, cell) => sum + 150 + sizeOfCell(cell), 200);
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
    case 'hint':
    case 'take-hints':
    case 'changes':
    case 'seen':
    case 'note-seen':
      return 300;
  }
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
