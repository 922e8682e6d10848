/** Safety rules broken on purpose, one at a time; see mutants.ts for what each is. */
export type MutantName =
  | 'fence-quorum-one-less'
  | 'guest-supported-as-member'
  | 'guest-needs-no-member'
  | 'promise-forgotten-at-restart'
  | 'promise-without-margin'
  | 'support-counted-from-answer'
  | 'support-at-fenced-version'
  | 'no-freeze'
  | 'candidate-does-not-fence-itself'
  | 'version-as-identity'
  | 'wall-clock-lease'
  | 'lazy-fsync'
  | 'ballot-reuse'
  | 'consensus-quorum-of-one'
  | 'small-election-quorum'
  | 'no-barrier'
  | 'activate-before-record'
  | 'no-cut-off'
  | 'timeline-not-announced'
  | 'timelines-by-number'
  | 'rejoin-without-rewind'
  | 'release-before-end'
  | 'extend-without-answer'
  | 'takeover-without-check'
  | 'follows-outdated-leader'
  | 'coming-members-not-counted'
  | 'coming-members-forgotten'
  | 'delayed-may-lead'
  | 'delayed-counted'
  | 'degrade-before-record'
  | 'fewer-before-record'
  | 'more-recorded-at-once'
  | 'old-names-settled';

export const SUPPORT_MS = 600;
export const LEASE_TTL_MS = 2_500;
export const PING_INTERVAL_MS = 50;
/** How late the watchdog may act, by its own clock. */
export const WATCHDOG_INTERVAL_MS = 10;
