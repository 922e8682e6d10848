import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { PoolConfig } from 'pg';
import type { Clock } from '../../model/clock.ts';
import { nameAddresses, dropDeparted } from './core/membership.ts';
import type { Member, Members } from './core/membership.ts';
import type { Lookup, Place } from '../app/options.ts';
import { SCRAM_ONLY } from '../../wire/core/auth-guard.ts';
import type { AuthMethod } from '../../wire/core/auth-guard.ts';
import type { NodeKey } from '../../model/node.ts';

/** Managed services move their endpoints within seconds. */
const RESOLVE_INTERVAL_MS = 5000;

/** While there is no leader; a name is never asked more often than this. */
const HURRIED_INTERVAL_MS = 500;

/** An address that nobody names any more is used for this long. */
const GRACE_MS = 60_000;

/** More than this many names from agents are not a cluster's. */
const MAX_TOLD_PLACES = 64;

interface Resolution {
  readonly place: Place;
  /** Agents' places end when they are told no more; the app's never do. */
  readonly isTold: boolean;
  askedAtMs: number;
  running: Promise<void> | null;
  error: Error | null;
}

/**
 * Knows at which addresses servers are: those of the app's hosts and of the agents' topology, names resolved
 * again and again. Each address of a name is a server of its own.
 */
export class MemberDirectory {
  readonly #lookup: Lookup;
  readonly #clock: Clock;
  readonly #onChange: () => void;
  readonly #resolutions = new Map<string, Resolution>();
  #members: Members = new Map();
  #callOff: (() => void) | null = null;
  #isStopped = false;

  /** `onChange` is called when members came or went, never from within the constructor. */
  constructor(places: readonly Place[], resolve: Lookup, clock: Clock, onChange: () => void) {
    this.#lookup = resolve;
    this.#clock = clock;
    this.#onChange = onChange;
    for (const place of places) {
      this.#register(place, false);
      if (isAddress(place.host))
        this.#members = nameAddresses(this.#members, sourceOf(place, false), place, [place.host], 0);
    }
  }

  get members(): Members {
    return this.#members;
  }

  /** Names without a known address, with the resolver's error; null while it was not asked. */
  get unresolved(): ReadonlyMap<string, Error | null> {
    const named = new Set([...this.#members.values()].flatMap(({ namedBy }) => [...namedBy.keys()]));
    const missing = [...this.#resolutions].filter(([source]) => !named.has(source));
    return new Map(missing.map(([source, { error }]) => [source, error]));
  }

  /** Whether the app itself named the address, not only agents. */
  isListed(key: NodeKey): boolean {
    const namedBy = this.#members.get(key)?.namedBy.keys() ?? [];
    return [...namedBy].some((source) => this.#resolutions.get(source)?.isTold === false);
  }

  /** Resolves every name, and from then on again from time to time. */
  async start(): Promise<void> {
    this.#schedule();
    await this.#resolveAll(0);
  }

  /** Looks again at once, within limits: a name may have moved. */
  hurry(): void {
    void this.#resolveAll(HURRIED_INTERVAL_MS);
  }

  /** Takes the agents' list of servers: who is not on it any more has left. */
  tell(places: readonly Place[]): void {
    const told = new Map(places.slice(0, MAX_TOLD_PLACES).map((place) => [sourceOf(place, true), place]));
    for (const [source, { place, isTold }] of this.#resolutions) {
      if (!isTold || told.has(source)) continue;
      this.#resolutions.delete(source);
      this.#set(nameAddresses(this.#members, source, place, [], this.#clock.nowMs()));
    }
    for (const [source, place] of told) {
      if (this.#resolutions.has(source)) continue;
      this.#register(place, true);
      if (!isAddress(place.host)) void this.#resolve(source, 0);
      else this.#set(nameAddresses(this.#members, source, place, [place.host], this.#clock.nowMs()));
    }
  }

  stop(): void {
    this.#isStopped = true;
    this.#callOff?.();
  }

  #register(place: Place, isTold: boolean): void {
    const askedAtMs = Number.NEGATIVE_INFINITY;
    this.#resolutions.set(sourceOf(place, isTold), { place, isTold, askedAtMs, running: null, error: null });
  }

  #schedule(): void {
    if (this.#isStopped) return;
    this.#callOff = this.#clock.after(RESOLVE_INTERVAL_MS, () => {
      this.#set(dropDeparted(this.#members, this.#clock.nowMs(), GRACE_MS));
      void this.#resolveAll(0);
      this.#schedule();
    });
  }

  async #resolveAll(leastAgeMs: number): Promise<void> {
    await Promise.all([...this.#resolutions.keys()].map((source) => this.#resolve(source, leastAgeMs)));
  }

  #resolve(source: string, leastAgeMs: number): Promise<void> {
    const resolution = this.#resolutions.get(source);
    if (resolution === undefined || this.#isStopped || isAddress(resolution.place.host))
      return Promise.resolve();
    if (this.#clock.nowMs() - resolution.askedAtMs < leastAgeMs)
      return resolution.running ?? Promise.resolve();
    resolution.running ??= this.#ask(source, resolution).finally(() => {
      resolution.running = null;
    });
    return resolution.running;
  }

  /** A resolver that fails, or knows no address, takes away nothing that was known. */
  async #ask(source: string, resolution: Resolution): Promise<void> {
    resolution.askedAtMs = this.#clock.nowMs();
    try {
      const addresses = await this.#lookup(resolution.place.host);
      resolution.error = null;
      if (addresses.length === 0 || this.#isStopped || this.#resolutions.get(source) !== resolution) return;
      this.#set(nameAddresses(this.#members, source, resolution.place, addresses, this.#clock.nowMs()));
    } catch (error) {
      resolution.error = error instanceof Error ? error : new Error(String(error));
    }
  }

  #set(members: Members): void {
    if (members === this.#members) return;
    this.#members = members;
    this.#onChange();
  }
}

/** The system's resolver, all addresses in its order. */
export const lookupAll: Lookup = async (host) => {
  const found = await lookup(host, { all: true });
  return found.map(({ address }) => address);
};

const TOLD = 'agents: ';

function sourceOf({ host, port }: Place, isTold: boolean): string {
  return `${isTold ? TOLD : ''}${host}:${port}`;
}

/**
 * How a server may authenticate. One that the app did not name, but agents, must prove to know the password: whoever
 * speaks in an agent's place could name any.
 */
export function authOf({ namedBy }: Member, allowed: readonly AuthMethod[]): readonly AuthMethod[] {
  const isTold = [...namedBy.keys()].every((source) => source.startsWith(TOLD));
  return isTold ? SCRAM_ONLY : allowed;
}

/** A socket's folder needs no resolving either. */
function isAddress(host: string): boolean {
  return host.startsWith('/') || isIP(host) !== 0;
}

/**
 * How to connect to a member. The connection goes to the address, but its certificate is checked against the
 * name that was resolved, unless the app's `ssl` names another.
 */
export function connectionTo(
  { address, port, serverName }: Pick<Member, 'address' | 'port' | 'serverName'>,
  ssl: PoolConfig['ssl'],
): Pick<PoolConfig, 'host' | 'port' | 'ssl'> {
  if (ssl === undefined) return { host: address, port };
  if (ssl === false || serverName === null) return { host: address, port, ssl };
  return { host: address, port, ssl: { servername: serverName, ...(ssl === true ? {} : ssl) } };
}
