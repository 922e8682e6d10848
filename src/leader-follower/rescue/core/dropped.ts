/** One line of `pg_restore --list`. */
export interface ArchiveEntry {
  /** As it stands in the list. */
  readonly line: string;
  /** `catalog oid` of the object; `0 0` where it has none of its own, as a grant. */
  readonly object: string;
  /** What it is and whose: `TABLE public orders app`. */
  readonly label: string;
}

/** The entries of a list; its comments are left out. Source: PostgreSQL's src/bin/pg_dump/pg_backup_archiver.c, PrintTOCSummary. */
export function parseArchiveList(text: string): readonly ArchiveEntry[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\d+; (\d+ \d+) (.*)$/.exec(line);
    return match === null ? [] : [{ line, object: match[1] ?? '', label: match[2] ?? '' }];
  });
}

/** A table, index, sequence or view that went with a dropped table. */
export interface NamedRelation {
  readonly schema: string;
  readonly name: string;
}

/** What belongs to a relation and has no object of its own. */
const ATTACHED = ['ACL', 'COMMENT', 'SECURITY LABEL'];
const OWN_LABELS = ['SEQUENCE OWNED BY', 'TABLE ATTACH', 'INDEX ATTACH', 'ROW SECURITY'];
const RELATION_KINDS = [
  'TABLE',
  'SEQUENCE',
  'VIEW',
  'MATERIALIZED VIEW',
  'FOREIGN TABLE',
  'COLUMN',
  'INDEX',
  'CONSTRAINT',
  'TRIGGER',
  'POLICY',
  'RULE',
];

/**
 * What the past had and the present has not of everything that hangs on some tables: of all that `dependents`
 * (`catalog oid`) names, and of the grants and comments of the relations among them. In the order of the past's list, by
 * which pg_restore restores.
 */
export function missingEntries(
  past: readonly ArchiveEntry[],
  present: readonly ArchiveEntry[],
  dependents: ReadonlySet<string>,
  relations: readonly NamedRelation[],
): readonly ArchiveEntry[] {
  const there = new Set(present.map(({ label }) => label));
  const prefixes = relations.flatMap(({ schema, name }) => [
    ...ATTACHED.flatMap((kind) =>
      RELATION_KINDS.flatMap((of) => [
        `${kind} ${schema} ${of} ${name} `,
        `${kind} ${schema} ${of} ${name}.`,
      ]),
    ),
    // A constraint's or trigger's comment names it first, then its table.
    ...OWN_LABELS.map((kind) => `${kind} ${schema} ${name} `),
  ]);
  return past.filter(
    ({ object, label }) =>
      !there.has(label) && (dependents.has(object) || prefixes.some((prefix) => label.startsWith(prefix))),
  );
}

/** pg_dump's text without the lines that only psql understands. */
export function withoutPsqlCommands(sql: string): string {
  return sql
    .split('\n')
    .filter((line) => !/^\\(un)?restrict\b/.test(line))
    .join('\n');
}
