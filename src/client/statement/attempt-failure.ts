import type { ExchangeReport } from '../../wire/contract.ts';
import type { FailurePhase } from './core/retry.ts';
import type { StatementConfig } from './queryable.ts';

/** What can commit only with the transaction around it; CALL, DO and some DDL commit by themselves. */
const COMMITS_WITH_OTHERS = /^\s*(?:insert|update|delete|merge|select|with)\b/i;

/** Whether the server stopped, or somebody ended the connection, and the statement surely has no effect. */
export function isCutOff({ isCutOffBefore }: ExchangeReport, { text }: StatementConfig): boolean {
  return isCutOffBefore && COMMITS_WITH_OTHERS.test(text);
}

/** How far an attempt had come when it failed. */
export function phaseOf(report: ExchangeReport): FailurePhase {
  if (!report.isBroken) return 'refused';
  return report.isSent ? 'broken' : 'unreached';
}
