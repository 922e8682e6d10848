/** A column as the publisher describes it. */
export interface RelationColumn {
  readonly name: string;
  /** The type's oid on the publishing server; those from 16384 on mean nothing elsewhere. */
  readonly typeOid: number;
  readonly typeModifier: number;
  /** Whether it is part of the replica identity. */
  readonly isKey: boolean;
}

/** Which old values the publisher sends with an update or a delete. Source: "pg_class", relreplident. */
export type ReplicaIdentity = 'default' | 'nothing' | 'full' | 'index';

/** A published table, as of the changes that carry it; a new object comes when its definition changes. */
export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly replicaIdentity: ReplicaIdentity;
  readonly columns: readonly RelationColumn[];
}

/** Turns the text of a value into what JavaScript works with. */
export type ParseText = (typeOid: number, text: string) => unknown;
