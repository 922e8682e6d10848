import { judgeCompareAndSet } from '../../../consensus/compare-and-set.ts';
import type { CompareAndSet, CompareAndSetOutcome } from '../../../consensus/compare-and-set.ts';
import { LockstepError } from '../../../model/errors.ts';
import type { Register } from '../../contract.ts';

/*
 * etcd's JSON gateway speaks proto3's JSON: 64-bit numbers are strings, bytes are base64, and what is zero,
 * false or empty is left out. Source: etcd documentation, "Why gRPC gateway", and api/etcdserverpb/rpc.proto.
 */

/** One version of a key as etcd tells it. */
export interface KeyValueJson {
  readonly value?: string;
  readonly version?: string;
  readonly create_revision?: string;
  readonly mod_revision?: string;
}

export interface HeaderJson {
  readonly cluster_id?: string;
  readonly revision?: string;
}

export interface RangeJson {
  readonly header?: HeaderJson;
  readonly kvs?: readonly KeyValueJson[];
}

export interface TxnJson {
  readonly header?: HeaderJson;
  readonly succeeded?: boolean;
  readonly responses?: readonly { readonly response_range?: RangeJson }[];
}

export interface WatchJson {
  readonly header?: HeaderJson;
  readonly canceled?: boolean;
  readonly cancel_reason?: string;
  readonly compact_revision?: string;
  readonly events?: readonly { readonly type?: string; readonly kv?: KeyValueJson }[];
}

/** A register as it lies in etcd. */
export interface StoredRegister extends Register {
  /** Names the write that made this version, so that its author knows it again; see consensus/compare-and-set.ts. */
  readonly operation: string;
  /** etcd's revision at which the key came into being; 0 while it does not exist. */
  readonly createRevision: number;
  /** A revision of etcd at which this was the newest version. */
  readonly revision: number;
}

export function encodeBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}

/** The bytes of a register's key: its value together with the name of the write. */
export function encodeStored(value: unknown, operation: string): string {
  return encodeBytes(JSON.stringify({ operation, value }));
}

/**
 * Reads what etcd tells of a key at `revision`. Throws CONFIG_INVALID when something else than Lockstep
 * wrote it.
 */
export function decodeStored(
  key: string,
  stored: KeyValueJson | undefined,
  revision: number,
): StoredRegister {
  if (stored === undefined) {
    return { version: 0, value: undefined, operation: '', createRevision: 0, revision };
  }
  const content = parseObject(Buffer.from(stored.value ?? '', 'base64').toString('utf8'));
  if (typeof content?.['operation'] !== 'string') {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The key ${key} in etcd holds something that Lockstep did not write. Give the cluster a "prefix" of its own in cluster.json.`,
      { details: { key } },
    );
  }
  return {
    version: Number(stored.version ?? 0),
    value: content['value'],
    operation: content['operation'],
    createRevision: Number(stored.create_revision ?? 0),
    revision,
  };
}

/** The request that reads `key`. Linearizable: etcd's default asks a majority (`serializable` would not). */
export function rangeRequest(key: string): object {
  return { key: encodeBytes(key) };
}

/**
 * The transaction that writes when the key is at the expected version, and else tells what is there. With
 * `createRevision` it also asks for the same life of the key: one that was deleted counts from 1 again.
 */
export function compareAndSetRequest(key: string, write: CompareAndSet, createRevision: number): object {
  const bytes = encodeBytes(key);
  const hasVersion = {
    key: bytes,
    target: 'VERSION',
    result: 'EQUAL',
    version: String(write.expectedVersion),
  };
  const isSameLife = {
    key: bytes,
    target: 'CREATE',
    result: 'EQUAL',
    create_revision: String(createRevision),
  };
  return {
    compare: write.expectedVersion > 0 && createRevision > 0 ? [hasVersion, isSameLife] : [hasVersion],
    success: [{ request_put: { key: bytes, value: encodeStored(write.value, write.operation) } }],
    failure: [{ request_range: { key: bytes } }],
  };
}

/**
 * What a transaction that did not succeed says of the write. `mayHaveRunBefore`: the same transaction was
 * sent before without an answer. It may run late too, but then succeeds only at its expected version.
 */
export function judgeFailedTxn(
  write: CompareAndSet,
  current: StoredRegister,
  mayHaveRunBefore: boolean,
): CompareAndSetOutcome {
  if (mayHaveRunBefore && current.version < write.expectedVersion) return 'unknown';
  return judgeCompareAndSet(write, current, mayHaveRunBefore);
}

/**
 * What an error of etcd says of the request. `token`: it was not run, a new token helps. `refused`: it was
 * not run and will not be, whoever is asked. `busy`: it was not run. `unclear`: it may run or have run.
 */
export type EtcdRefusal = 'token' | 'refused' | 'busy' | 'unclear';

export interface EtcdError {
  readonly refusal: EtcdRefusal;
  readonly message: string;
}

/** gRPC's codes (google.golang.org/grpc/codes), as the gateway tells them. */
const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const UNIMPLEMENTED = 12;
const UNAUTHENTICATED = 16;

const TOKEN_TROUBLE = /invalid auth token|user name is empty|revision of auth store is old/;

/** Reads an answer that is no success: etcd's own JSON, or whatever else listens there. */
export function readError(status: number, text: string): EtcdError {
  const { code, message } = parseError(text);
  if (message === null) {
    return status === 404 || status === 405
      ? {
          refusal: 'refused',
          message: `answers ${status}: no etcd 3.4 or later with its JSON gateway (--enable-grpc-gateway)`,
        }
      : { refusal: 'unclear', message: `answers ${status}` };
  }
  return { refusal: refusalOf(code, message), message };
}

/** Whether a new token may help; for the reason of a watch that etcd canceled, which carries no code. */
export function isTokenTrouble(reason: string): boolean {
  return TOKEN_TROUBLE.test(reason);
}

function refusalOf(code: number, message: string): EtcdRefusal {
  if (TOKEN_TROUBLE.test(message)) return 'token';
  switch (code) {
    case UNAUTHENTICATED:
      return 'token';
    case INVALID_ARGUMENT:
    case PERMISSION_DENIED:
    case UNIMPLEMENTED:
      return 'refused';
    // Among them: a learner, which takes no requests yet. The other members may.
    case FAILED_PRECONDITION:
    case RESOURCE_EXHAUSTED:
      return 'busy';
    default:
      return 'unclear';
  }
}

/** A stream wraps its error once more, with other names. */
function parseError(text: string): { readonly code: number; readonly message: string | null } {
  const outer = parseObject(text);
  const inner = outer?.['error'];
  const body = typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>) : outer;
  const message = body?.['message'] ?? body?.['error'];
  return {
    code: Number(body?.['code'] ?? body?.['grpc_code'] ?? 0),
    message: typeof message === 'string' ? message : null,
  };
}

/** Null for what is no JSON object. */
export function parseObject(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' ? (value as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}
