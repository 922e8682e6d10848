import type { decideGrants, Grant } from '../../../src/multi-leader/core/escrow-rule.ts';
import type { RunResult } from './run.ts';

/** The shipped decision, and what the transactions around it hold together. */
export interface EscrowRules {
  readonly decideGrants: typeof decideGrants;
  readonly takesOff: boolean;
  /** What is given is no more than is there when it is given. */
  readonly looksWhenItGives: boolean;
  /** Of a crash after which statement what is lost: none, as both are one transaction, or the later of the two. */
  readonly receives: 'with-position' | 'before-position' | 'after-position';
}

type Entry =
  | { readonly kind: 'grant'; readonly to: number; readonly amount: bigint }
  | { readonly kind: 'held'; readonly held: bigint };

interface Holder {
  readonly id: number;
  held: bigint;
  /** As was said last. */
  told: bigint | null;
  readonly shares: Map<number, bigint>;
  /** Decided, by what was there then. */
  planned: Grant[];
  readonly log: Entry[];
  /** How far each other region's log is applied here. */
  readonly positions: number[];
}

const TOTAL = 100n;
const MIN = 0n;
const STEPS = 600;
const REST_LIMIT = 2_000;

/** Regions that sell of one number and give each other parts of it, while links are cut and transactions fail. */
export function runEscrow(seed: { readonly random: () => number; readonly rules: EscrowRules }): RunResult {
  const world = new EscrowWorld(seed.random, seed.rules);
  for (let step = 0; step < STEPS; step++) world.step();
  world.comeToRest();
  return {
    steps: STEPS,
    violations: [...world.violations],
    repaired: 0,
    decisions: world.given,
    transcript: world.transcript,
  };
}

class EscrowWorld {
  readonly #random: () => number;
  readonly #rules: EscrowRules;
  readonly #regions: readonly Holder[];
  readonly #isCut = new Set<string>();
  #sold = 0n;
  given = 0;
  readonly violations = new Set<string>();
  readonly transcript: string[] = [];

  constructor(random: () => number, rules: EscrowRules) {
    this.#random = random;
    this.#rules = rules;
    const count = 2 + this.#below(3);
    // Who inserts the row holds all of it.
    this.#regions = Array.from({ length: count }, (_, id) => ({
      id,
      held: id === 0 ? TOTAL : MIN,
      told: null,
      shares: new Map(),
      planned: [],
      log: [],
      positions: Array.from({ length: count }, () => 0),
    }));
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #any(): Holder {
    return this.#regions[this.#below(this.#regions.length)] as Holder;
  }

  step(): void {
    const [one, other] = [this.#any(), this.#any()];
    const kind = this.#random();
    if (kind < 0.35) this.#sell(one);
    else if (kind < 0.5) this.#plan(one);
    else if (kind < 0.65) this.#give(one);
    else if (kind < 0.95) this.#deliver(one, other, this.#random() < 0.2);
    else this.#turn(one, other);
    this.#check();
  }

  #say(what: string): void {
    this.transcript.push(what);
  }

  #sell(region: Holder): void {
    if (region.held <= MIN) return;
    region.held--;
    this.#sold++;
    this.#say(`${region.id} sells one`);
  }

  /** As the shipped `ShareKeeper`: it says what it holds, and decides by what others said. */
  #plan(region: Holder): void {
    if (region.told !== region.held) {
      region.told = region.held;
      region.log.push({ kind: 'held', held: region.held });
    }
    const others = [...region.shares]
      .filter(([id]) => !this.#isCut.has(this.#link(region.id, id)))
      .map(([id, held]) => ({ region: id, held }));
    region.planned = this.#rules.decideGrants(region.held, MIN, others);
  }

  #give(region: Holder): void {
    const grant = region.planned.shift();
    if (grant === undefined) return;
    const { to, amount } = grant;
    if (this.#rules.looksWhenItGives && region.held - amount < MIN) return;
    if (this.#rules.takesOff) region.held -= amount;
    region.log.push({ kind: 'grant', to, amount });
    region.shares.set(to, (region.shares.get(to) ?? 0n) + amount);
    this.given++;
    this.#say(`${region.id} gives ${amount} to ${to}`);
  }

  #link(a: number, b: number): string {
    return `${Math.min(a, b)}-${Math.max(a, b)}`;
  }

  #turn(one: Holder, other: Holder): void {
    const link = this.#link(one.id, other.id);
    if (!this.#isCut.delete(link)) this.#isCut.add(link);
    this.#say(`${link} is ${this.#isCut.has(link) ? 'cut' : 'healed'}`);
  }

  /** One transaction of `from`'s log in `to`; `fails` before its end. */
  #deliver(from: Holder, to: Holder, fails: boolean): boolean {
    const position = to.positions[from.id] ?? 0;
    const entry = from.log[position];
    if (from === to || entry === undefined || this.#isCut.has(this.#link(from.id, to.id))) return false;
    const { receives } = this.#rules;
    const receive = (): void => {
      if (entry.kind === 'held') to.shares.set(from.id, entry.held);
      else if (entry.to === to.id) to.held += entry.amount;
    };
    const move = (): void => void (to.positions[from.id] = position + 1);
    if (fails) {
      if (receives === 'before-position') receive();
      if (receives === 'after-position') move();
    } else {
      receive();
      move();
    }
    this.#say(`${to.id} ${fails ? 'fails at' : 'has'} ${entry.kind} ${position} of ${from.id}`);
    return true;
  }

  #onTheWay(): bigint {
    let sum = 0n;
    for (const from of this.#regions)
      from.log.forEach((entry, position) => {
        if (entry.kind !== 'grant') return;
        const to = this.#regions[entry.to];
        if (to !== undefined && (to.positions[from.id] ?? 0) <= position) sum += entry.amount;
      });
    return sum;
  }

  #check(): void {
    const held = this.#regions.reduce((sum, region) => sum + region.held, 0n);
    const all = held + this.#onTheWay() + this.#sold;
    if (all !== TOTAL) this.violations.add(`of ${TOTAL} there are ${all}`);
    if (this.#sold > TOTAL) this.violations.add(`${this.#sold} are sold`);
    if (this.#regions.some((region) => region.held < MIN))
      this.violations.add('a region holds less than it may');
  }

  /** All links are joined, nobody sells, and parts move until none moves any more. */
  comeToRest(): void {
    this.#isCut.clear();
    for (let step = 0; step < REST_LIMIT; step++) {
      const before = this.given;
      for (const region of this.#regions) {
        this.#plan(region);
        while (region.planned.length > 0) this.#give(region);
      }
      let moved = false;
      for (const from of this.#regions)
        for (const to of this.#regions) while (this.#deliver(from, to, false)) moved = true;
      this.#check();
      if (!moved && before === this.given) return this.#checkParts();
    }
    this.violations.add('parts go back and forth');
  }

  #checkParts(): void {
    const left = this.#regions.reduce((sum, region) => sum + region.held, 0n);
    const equal = left / BigInt(this.#regions.length);
    if (this.#regions.some((region) => region.held * 2n < equal))
      this.violations.add(`of ${left} the regions hold ${this.#regions.map(({ held }) => held).join(', ')}`);
  }
}
