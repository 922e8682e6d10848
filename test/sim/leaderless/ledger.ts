/** What was asked for and answered, and whether that fits together. Tags are unique, sums are of adds without removals. */
export class Ledger {
  readonly violations: { readonly invariant: string; readonly what: string }[] = [];
  /** For each cart line that only grows: acknowledged at a quorum or beyond, acknowledged at all, and perhaps added. */
  readonly #lines = new Map<
    string,
    { quorum: number; acknowledged: number; doubtful: number; seen: number }
  >();
  /** For each key: the newest version that was acknowledged or seen. */
  readonly #versions = new Map<string, string>();
  readonly #logs = new Map<string, LogHistory>();
  acknowledged = 0;
  unknown = 0;
  reads = 0;

  #say(invariant: string, what: string): void {
    this.violations.push({ invariant, what });
  }

  lineOf(line: string): { quorum: number; acknowledged: number; doubtful: number; seen: number } {
    let known = this.#lines.get(line);
    if (known === undefined)
      this.#lines.set(line, (known = { quorum: 0, acknowledged: 0, doubtful: 0, seen: 0 }));
    return known;
  }

  get lines(): readonly string[] {
    return [...this.#lines.keys()];
  }

  /** A read at `quorum` of a line, with what had been acknowledged, and seen, before it began. */
  sawLine(line: string, quantity: number, before: { readonly quorum: number; readonly seen: number }): void {
    this.reads += 1;
    if (quantity < before.quorum)
      this.#say('no acknowledged add is lost', `${line}: ${quantity} seen, ${before.quorum} acknowledged`);
    if (quantity < before.seen)
      this.#say('reads do not go back', `${line}: ${quantity} seen after ${before.seen}`);
    const known = this.lineOf(line);
    known.seen = Math.max(known.seen, quantity);
  }

  /**
   * What is there when everything was brought together. `canLoseAccepted`: what one node alone had acknowledged may have gone with its
   * disk.
   */
  finalLine(line: string, quantity: number, canLoseAccepted: boolean): void {
    const { quorum, acknowledged, doubtful } = this.lineOf(line);
    if (quantity < (canLoseAccepted ? quorum : acknowledged))
      this.#say(
        'no acknowledged add is lost',
        `${line}: ${quantity} in the end, ${acknowledged} acknowledged`,
      );
    if (quantity > acknowledged + doubtful)
      this.#say(
        'nothing is added that was refused',
        `${line}: ${quantity}, at most ${acknowledged + doubtful}`,
      );
  }

  /** A line of one caller, all of whose adds were acknowledged. */
  hasAll(line: string, quantity: number, added: number): void {
    if (quantity < added)
      this.#say('no acknowledged add is lost', `${line}: ${quantity} seen, ${added} acknowledged`);
    if (quantity > added) this.#say('no removed line comes back', `${line}: ${quantity}, ${added} added`);
  }

  removedIsBack(line: string, quantity: number): void {
    if (quantity > 0) this.#say('no removed line comes back', `${line}: ${quantity}`);
  }

  deletedIsBack(key: string): void {
    this.#say('no deleted value comes back', key);
  }

  newestOf(key: string): string {
    return this.#versions.get(key) ?? '';
  }

  acknowledgedVersion(key: string, version: string, newest: string): void {
    this.acknowledged += 1;
    if (version <= newest && newest.split('.')[2] === version.split('.')[2])
      this.#say('a process writes in its own order', `${key}: ${version} after ${newest}`);
    if (version > this.newestOf(key)) this.#versions.set(key, version);
  }

  sawVersion(key: string, version: string | null, before: string): void {
    this.reads += 1;
    if ((version ?? '') < before)
      this.#say(
        'no acknowledged value is lost, and reads do not go back',
        `${key}: ${version} after ${before}`,
      );
    if (version !== null && version > this.newestOf(key)) this.#versions.set(key, version);
  }

  wroteAfterRead(key: string, version: string, read: string | null): void {
    if (read !== null && version <= read)
      this.#say('what is written after a read is newer', `${key}: ${version} written after ${read} was read`);
  }

  logOf(key: string): LogHistory {
    let known = this.#logs.get(key);
    if (known === undefined) {
      known = new LogHistory((what) => this.#say('compare-and-set is linearizable', `${key}: ${what}`));
      this.#logs.set(key, known);
    }
    return known;
  }

  get logs(): ReadonlyMap<string, LogHistory> {
    return this.#logs;
  }
}

/**
 * A list that each change appends its own tag to. Linearizable: all lists that were ever seen are beginnings of one, each tag
 * is in it once, and whoever looks sees what had been acknowledged, or seen, before.
 */
class LogHistory {
  readonly #say: (what: string) => void;
  #longest: readonly string[] = [];
  /** How long the list was at least, whenever somebody began. */
  floor = 0;
  readonly #never = new Set<string>();

  constructor(say: (what: string) => void) {
    this.#say = say;
  }

  saw(list: readonly string[], floorBefore: number): void {
    if (list.length < floorBefore) this.#say(`${list.length} entries after ${floorBefore} were acknowledged`);
    if (new Set(list).size < list.length) this.#say(`a change counted twice in ${list.join(' ')}`);
    const shorter = list.length < this.#longest.length ? list : this.#longest;
    const longer = shorter === list ? this.#longest : list;
    const fork = shorter.findIndex((tag, index) => longer[index] !== tag);
    if (fork >= 0) this.#say(`two histories from entry ${fork}: ${shorter[fork]} and ${longer[fork]}`);
    for (const tag of list) if (this.#never.has(tag)) this.#say(`${tag} is there and was said not to be`);
    this.#longest = longer;
    this.floor = Math.max(this.floor, list.length);
  }

  /** It was said that this change is not, and never will be, applied. */
  refused(tag: string): void {
    this.#never.add(tag);
    if (this.#longest.includes(tag)) this.#say(`${tag} is there and was said not to be`);
  }

  applied(tag: string): void {
    if (!this.#longest.includes(tag)) this.#say(`${tag} was said to be applied and is not there`);
  }
}
