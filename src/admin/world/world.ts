/** A link into a region, as its process tells it. */
export interface WorldLink {
  readonly from: string;
  readonly to: string;
  readonly state: string;
  readonly detail: string | null;
  readonly applied: number;
  readonly lost: number;
  readonly lagMs: number | null;
}

export interface WorldRegion {
  readonly name: string;
  /** Null when its process does not answer. */
  readonly links: readonly WorldLink[] | null;
  readonly problem: string | null;
  /** What it keeps until every region has promised to send nothing older. */
  readonly kept: number;
  readonly parked: number;
  readonly appUrl: string | null;
}

type Row = Readonly<Record<string, string | null>> | null;

export interface WorldConflict {
  readonly table: string;
  readonly key: string;
  readonly kind: string;
  readonly decision: string;
  readonly earlier: { readonly at: string; readonly region: string } | null;
  readonly later: { readonly at: string; readonly region: string };
  readonly before: Row;
  readonly seen: Row;
  readonly written: Row;
  readonly result: Row;
}

export interface WorldPicture {
  readonly regions: readonly WorldRegion[];
  /** The newest first. */
  readonly conflicts: readonly WorldConflict[];
}

/** What the world page shows and does. */
export interface WorldSource {
  /** Conflicts, which are rows of the app's, are read only with rows. */
  picture(withRows: boolean): Promise<WorldPicture>;
  setLink(a: string, b: string, verb: 'cut' | 'heal'): Promise<void>;
  /** What a command needs; in the address that `lockstep dev --regions` prints. */
  readonly token: string;
}
