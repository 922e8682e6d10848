import { commandButton } from './commands.js';
import { copyable } from './copy.js';

/**
 * Buttons for who may command, command lines to copy for everybody else.
 * @param {string} name
 * @param {string | null} key
 * @param {(message: string) => void} onFailure
 */
export function createActions(name, key, onFailure) {
  if (key === null) {
    return {
      kill: copyable(`npx lockstep kill ${name}`, `the command that kills ${name}`),
      start: copyable(`npx lockstep start ${name}`, `the command that starts ${name}`),
      lead: null,
    };
  }
  const path = `/api/nodes/${encodeURIComponent(name)}`;
  return {
    kill: commandButton('Kill', { key, path: `${path}/kill`, isArmedFirst: true, onFailure }),
    start: commandButton('Start', { key, path: `${path}/start`, onFailure }),
    lead: commandButton('Make it lead', { key, path: '/api/switchover', body: { to: name }, onFailure }),
  };
}
