/** One committed transaction, as `lockstep rescue list --json` has it, and whether it took many rows. */
export interface RescueTransaction {
  readonly xid: number;
  /** ISO time of its commit. */
  readonly at: string;
  readonly tables: readonly {
    readonly table: string;
    readonly inserted: number;
    readonly updated: number;
    readonly deleted: number;
  }[];
  /** What looks like a mistake, for people. */
  readonly dangers: readonly { readonly text: string }[];
  /** It updated or deleted so many rows that it is always shown. */
  readonly takesMany: boolean;
  /** The delayed node shows what it did already. */
  readonly isReplayed: boolean;
  /** ISO time at which it will; null when it does already, or while its delay is on hold. */
  readonly replaysAt: string | null;
}

/** How far a rescue is, without anything secret. */
export interface RescuePicture {
  readonly node: string;
  readonly delayMs: number;
  readonly phase: 'idle' | 'held' | 'rolling' | 'open' | 'closing';
  /** One line for people. */
  readonly text: string;
  /** The transaction that it stands before; null where none is known. */
  readonly xid: number | null;
}

/** One table then and now, as `lockstep rescue diff --json` has it. */
export interface RescueDiff {
  readonly table: string;
  readonly isDropped: boolean;
  readonly rows: { readonly past: number; readonly present: number };
  readonly missing: number;
  readonly changed: number;
  readonly touchedSince: number;
  readonly others: number;
  /** Some keys of each kind. */
  readonly keys: Readonly<Record<'missing' | 'changed' | 'touchedSince', readonly string[]>>;
}

/** What the page of a rescue needs from its host; each rejects with a LockstepError. `node` as in `--node`. */
export interface AdminRescue {
  status(node?: string): Promise<RescuePicture>;
  list(sinceMs: number, node?: string): Promise<readonly RescueTransaction[]>;
  /** Resolves when it rolls forward. */
  open(xid: number, node?: string): Promise<RescuePicture>;
  close(node?: string): Promise<RescuePicture>;
  /** Every table that the mistake touched. */
  diff(node?: string): Promise<readonly RescueDiff[]>;
  /** What a restore would do, or has done, in lines. */
  restore(
    wish: { readonly tables: readonly string[]; readonly keepsNewer: boolean; readonly isTrial: boolean },
    node?: string,
  ): Promise<readonly string[]>;
}
