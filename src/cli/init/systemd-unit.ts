/** What a unit of a node's agent is made of. */
export interface UnitOptions {
  /** The program and its first words, e.g. Node.js and Lockstep's own file. */
  readonly command: readonly string[];
  readonly configPath: string;
  readonly stateDir: string;
  /** Whom the agent and PostgreSQL run as. */
  readonly user: string;
}

/**
 * A template unit for systemd: `lockstep@n1` runs the agent of node n1. Source: systemd.service(5) and systemd.exec(5).
 *
 * The agent is told to end alone, and stops PostgreSQL in order; what is left then is killed. A leader that cannot say for a
 * minute that it lives is ended, as its machine would be.
 */
export function renderUnit({ command, configPath, stateDir, user }: UnitOptions): string {
  const words = [...command, 'agent', '--config', configPath, '--state', stateDir, '--node'];
  return `[Unit]
Description=Lockstep agent of node %i, with its PostgreSQL
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
User=${user}
ExecStart=${words.map(quoteWord).join(' ')} %i
Restart=on-failure
RestartSec=2
WatchdogSec=60
KillMode=mixed
TimeoutStartSec=120
TimeoutStopSec=120
LimitNOFILE=65536
# What guards PostgreSQL runs before it on a busy machine (chrt).
AmbientCapabilities=CAP_SYS_NICE
LimitRTPRIO=1
NoNewPrivileges=yes
ProtectSystem=full
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
`;
}

/** As systemd splits words: quotes, and a percent sign or a dollar twice. */
function quoteWord(word: string): string {
  const escaped = word.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /[\s"'\\;]/.test(escaped) ? `"${escaped.replace(/["\\]/g, '\\$&')}"` : escaped;
}
