/** A value of etcd, and the revision at which it was changed last; revision 0 is never written. */
export interface Stored {
  readonly value: string | null;
  readonly revision: number;
}

/** What the bench asks of etcd, over either of its two doors. */
export interface EtcdStore {
  put(key: string, value: string): Promise<void>;
  get(key: string, isSerializable: boolean): Promise<Stored>;
  /** Replaces the value when it was last changed at `revision`; the new revision, or null when it was not. */
  replace(key: string, revision: number, value: string): Promise<number | null>;
  close(): void;
}
