/** One of the independent servers beside a cluster, as it is now. */
export interface QuorumServer {
  readonly name: string;
  /** `refused`: it answers and must not be used. */
  readonly state: 'up' | 'down' | 'refused';
  /** What is wrong, in one sentence; null when nothing is. */
  readonly problem: string | null;
  /** Keys noted here that other servers may lack, by their names. */
  readonly hints: Readonly<Record<string, number>>;
  readonly cells: number | null;
  /** Compare-and-set keys. */
  readonly slots: number | null;
}

/** What the panel of the independent servers shows. */
export interface QuorumPicture {
  readonly isFounded: boolean;
  readonly hasQuorum: boolean;
  readonly acceptsWrites: boolean;
  readonly nodes: readonly QuorumServer[];
}
