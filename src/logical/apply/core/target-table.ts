/** What a type is made of. Source: PostgreSQL documentation, "pg_type", typtype and typcategory. */
export type TypeKind = 'base' | 'array' | 'enum' | 'domain' | 'range' | 'multirange' | 'composite';

/** A type of one server. */
export interface PgType {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: TypeKind;
  /** Of an array's elements, or what a domain stands on; null otherwise. */
  readonly inner: PgType | null;
  /** Whether values can be sent in binary format, and put into an array. */
  readonly isSendable: boolean;
}

/** Oids below are the same on every server. Source: PostgreSQL, FirstNormalObjectId. */
const FIRST_OWN_OID = 16_384;
/**
 * Built-in types whose binary format is an oid or a place, which is something else on another server, or that take no values. Source:
 * PostgreSQL documentation, "Object Identifier Types"; pg_type.dat.
 */
const NAMES_OF_OBJECTS =
  /^(reg(class|collation|config|dictionary|namespace|oper|operator|proc|procedure|role|type)|oid|oidvector|xid|cid|tid|aclitem|pg_(node_tree|ndistinct|dependencies|mcv_list|brin_\w+|ddl_command))$/;

export function isBuiltIn(type: PgType): boolean {
  return type.oid < FIRST_OWN_OID;
}

/** Whether the bytes of the one type are a value of the other, on any two servers. */
export function isSameInBinary(from: PgType, to: PgType): boolean {
  if (!from.isSendable || !to.isSendable) return false;
  if (isBuiltIn(from) && NAMES_OF_OBJECTS.test(from.name)) return false;
  if (from.kind === 'composite' || to.kind === 'composite') return false;
  if (from.kind === 'array') {
    // An array says of which type its elements are, by an oid.
    return (
      from.inner !== null && isBuiltIn(from) && from.oid === to.oid && isSameInBinary(from.inner, from.inner)
    );
  }
  if (isBuiltIn(from)) return from.oid === to.oid;
  if (from.kind === 'domain') {
    const base = from.inner;
    if (base === null || base.kind === 'array') return false;
    return to.kind === 'domain'
      ? to.inner !== null && isSameInBinary(base, to.inner)
      : isSameInBinary(base, to);
  }
  return from.kind === to.kind && from.name === to.name;
}

export interface TargetColumn {
  readonly name: string;
  readonly type: PgType;
  readonly isGenerated: boolean;
  /** GENERATED ALWAYS AS IDENTITY: a value may be inserted over it, but never set by an update. */
  readonly isIdentityAlways: boolean;
  /** For an array column: the domain over it, because unnest() takes arrays of arrays apart. */
  readonly wrapper: { readonly oid: number; readonly sql: string } | null;
}

/** A table as the target has it. */
export interface TargetTable {
  readonly schema: string;
  readonly name: string;
  /** The owner, where the session's role is a superuser and another; else null. */
  readonly runsAs: string | null;
  readonly isPartitioned: boolean;
  readonly columns: readonly TargetColumn[];
  /** Columns of each unique, immediate index without expression or condition whose columns are all NOT NULL. */
  readonly keys: readonly (readonly string[])[];
}

/** Of the source: columns that refer to a table's replica identity, which has the same types. */
export interface ForeignKey {
  /** The table that is referred to. */
  readonly schema: string;
  readonly name: string;
  /** In the order of that table's columns. */
  readonly columns: readonly string[];
}
