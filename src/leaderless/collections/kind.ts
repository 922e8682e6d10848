import { LockstepError } from '../../model/errors.ts';
import type { HybridClock } from '../clock.ts';
import type { CollectionName, KindName } from '../nodes/requests.ts';
import type { Replicas } from '../replicas.ts';
import type { Runtime } from '../runtime.ts';
import type { Actors } from './actors.ts';
import type { Slots } from '../slots/slots.ts';

/** What a collection works with. */
export interface CollectionContext {
  readonly collection: CollectionName;
  readonly replicas: Replicas;
  readonly slots: Slots;
  readonly clock: HybridClock;
  readonly runtime: Runtime;
  /** Names this process in ties; nobody else ever has it. */
  readonly writer: string;
  /** One for all collections that are opened in this process, however often each is. */
  readonly actors: Actors;
  readonly limits: Limits;
  /** How far ahead a time may be that somebody else gave. */
  readonly maxClockAheadMs: number;
  /** Aborted when the quorum is closed. */
  readonly closing: AbortSignal;
  /** How long what is written lives; null for ever. */
  readonly ttlMs: number | null;
}

export interface Limits {
  readonly deadlineMs: number;
  readonly maxValueBytes: number;
}

/** For kinds that take no options. */
export type NoOptions = Readonly<Record<string, never>>;

/**
 * What a collection does with its values; made by `lww()`, `siblings()`, `map()`, `set()`, `counter()`, `cart()` or `cas()`. `C` is the
 * collection's class, `O` the options that it may be opened with.
 */
export interface Kind<C, O = NoOptions> {
  readonly kind: KindName;
  /** Never set: holds the type of the options. */
  readonly options?: O;
  /** Opens a collection of this kind. */
  readonly open: (context: CollectionContext) => C;
}

/**
 * A validator that follows the Standard Schema interface, as those of zod, valibot and arktype do.
 * Source: https://standardschema.dev
 */
export interface StandardSchema<T> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<T> | Promise<StandardResult<T>>;
    readonly types?: { readonly input: unknown; readonly output: T } | undefined;
  };
}

type StandardResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

const MAX_KEY_BYTES = 1_024;

/** Throws VALUE_REFUSED for a text that PostgreSQL or the index does not take. */
export function checkName(what: string, text: unknown): asserts text is string {
  if (typeof text !== 'string' || text === '' || Buffer.byteLength(text) > MAX_KEY_BYTES)
    throw refusal(`A ${what} is a text of 1 to ${MAX_KEY_BYTES} bytes.`);
  if (text.includes('\u0000') || !text.isWellFormed())
    throw refusal(`A ${what} holds no NUL and no half of a character pair.`);
}

/** The JSON text of a value. Throws VALUE_REFUSED when it has none, is too large, or the schema refuses it. */
export async function encodeValue<T>(
  value: T,
  schema: StandardSchema<T> | undefined,
  maxBytes: number,
): Promise<string> {
  if (schema === undefined) return encodeJson(value, maxBytes);
  const result = await schema['~standard'].validate(value);
  return encodeJson(acceptedBy(result), maxBytes);
}

/** As {@link encodeValue}, where nothing may be waited for. */
export function encodeValueAtOnce<T>(
  value: T,
  schema: StandardSchema<T> | undefined,
  maxBytes: number,
): string {
  if (schema === undefined) return encodeJson(value, maxBytes);
  const result = schema['~standard'].validate(value);
  if (result instanceof Promise) {
    result.catch(() => undefined);
    throw refusal('The schema of a compare-and-set collection must answer at once, without a promise.');
  }
  return encodeJson(acceptedBy(result), maxBytes);
}

function acceptedBy<T>(result: StandardResult<T>): T {
  if (result.issues === undefined) return result.value;
  throw refusal(`The schema refuses the value: ${result.issues.map(({ message }) => message).join('; ')}`);
}

/** As {@link encodeValue}, without a schema. */
export function encodeJson(value: unknown, maxBytes: number): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw refusal(`The value is no JSON: ${(cause as Error).message}`, cause);
  }
  if (text === undefined)
    throw refusal('The value is no JSON: pass an object, array, text, number, boolean or null.');
  if (text.length > maxBytes || Buffer.byteLength(text) > maxBytes)
    throw refusal(`The value has more than ${maxBytes} bytes; store it elsewhere and keep its address here.`);
  return text;
}

export function refusal(message: string, cause?: unknown): LockstepError {
  return new LockstepError('VALUE_REFUSED', message, cause === undefined ? {} : { cause });
}

/** Options of a call that writes. */
export interface WriteOptions<Level extends string> {
  /** Default `quorum`. */
  readonly level?: Level;
  /** After how many ms the call gives up. Default: `deadlineMs` of the quorum. */
  readonly deadlineMs?: number;
}

/** Options of a call that reads. */
export type ReadOptions<Level extends string> = WriteOptions<Level>;

/** What a write says. */
export interface Written {
  /** Hybrid time of the write as text; of two versions of one value the later in this order stays. */
  readonly version: string;
  /** Servers that had it on disk when the call was done. */
  readonly answeredBy: readonly string[];
}

/** What a read says. */
export interface Got<V> {
  readonly value: V;
  /** Of the newest part of the value; null when there is none. */
  readonly version: string | null;
  /** Servers whose answers were merged. */
  readonly answeredBy: readonly string[];
  /** Servers that lacked something of it, and have it now. */
  readonly repaired: readonly string[];
}
