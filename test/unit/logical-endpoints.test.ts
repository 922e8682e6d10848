import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeDatabase, splitHosts } from '../../src/logical/endpoints.ts';
import { createUrlClient } from '../../src/wire/url-client.ts';

describe('a database by its URL', () => {
  it('is one connection string for each host', () => {
    expect(splitHosts('postgresql://u:p%40@a:1,b:2/shop?sslmode=require')).toEqual([
      'postgresql://u:p%40@a:1/shop?sslmode=require',
      'postgresql://u:p%40@b:2/shop?sslmode=require',
    ]);
  });

  it('may have an @ in a parameter, and none that is not known', () => {
    const url = 'postgresql://u:p@a:1/shop?application_name=a@b&sslmode=require';
    expect(splitHosts(url)).toEqual([url]);
    expect(() => splitHosts('postgresql://u:p@a:1/shop?sslmod=require')).toThrow(
      'Write "sslmode" in the URL: "sslmod" is none that is known here.',
    );
    expect(() => splitHosts('postgresql://u:p@a:1/shop?colour=red')).toThrow(
      'Take the parameter "colour" out of the URL: "colour" is none that is known here.',
    );
    // A numeric beginning of a password looks like a port.
    expect(describeDatabase('postgresql://u:12?34@h/db')).toBe('a database');
  });

  it('is shown without its login, also where a character of the password was not encoded', () => {
    expect(describeDatabase('postgresql://u:secret@a:1,b:2/shop?password=secret')).toBe('a:1,b:2/shop');
    const special = fc.string({ unit: fc.constantFrom('@', '/', '?', '#', ':', '%', 'x'), maxLength: 8 });
    fc.assert(
      fc.property(special, special, (one, two) => {
        const url = `postgresql://user:${one}SECRET${two}@host/db`;
        expect(describeDatabase(url)).not.toContain('SECRET');
        let said = '';
        try {
          for (const host of splitHosts(url)) said += describeDatabase(host);
        } catch (error) {
          said = (error as Error).message;
        }
        expect(said).not.toContain('SECRET');
      }),
    );
  });

  it('is not told where an @ among the parameters may end a password', () => {
    for (const url of [
      'postgresql://app:123/x?options=a@host/db',
      'postgresql://app:123/x?options=a@host',
      'postgresql://app:123?options=a@host/db',
      'postgresql://app/x:123?options=a@host/db',
      'postgresql://u:12@34/x?options=a@host/db?sslmode=require',
      'postgresql://app,b:123/x?user=a@host',
      'postgresql://u:se@cret?options=a@host',
    ])
      expect(describeDatabase(url), url).toBe('a database');
    for (const url of [
      'postgresql://u:p@a:1/shop?application_name=a@b',
      'postgresql://u:p@a:1,b:2/shop?user=a@b&sslrootcert=/etc/ca',
      'postgresql://a:1/shop?sslrootcert=/etc/ca',
    ])
      expect(splitHosts(url).length, url).toBeGreaterThan(0);
    expect(describeDatabase('postgresql://a:1/shop?sslrootcert=/etc/ca')).toBe('a:1/shop');
    const part = fc.constantFrom(
      '@',
      '/',
      ':',
      '1',
      'x',
      '?options=',
      '&user=',
      '?application_name=',
      'SECRET',
    );
    const password = fc.array(part, { maxLength: 8 }).map((parts) => `1${parts.join('')}`);
    fc.assert(
      fc.property(password, (text) => {
        expect(describeDatabase(`postgresql://user:${text}@host/db`)).not.toContain('SECRET');
      }),
      { numRuns: 2_000 },
    );
  });

  it('is refused with what a URL’s parser leaves out, behind which pg would find another server or way to log in', () => {
    for (const url of [
      ' postgresql://u:p@a/shop',
      '\npostgresql://u:p@a/shop',
      '\u0001postgresql://u:p@a/shop',
      'postgresql://u:p@a/shop?ho\tst=b',
      'postgresql://u:p@a/shop?require_\nauth=password',
    ])
      expect(() => createUrlClient({ connectionString: url }), JSON.stringify(url)).toThrow(/out: it begins/);
  });

  it('is not told where its host was forgotten, and a password stands in its place', () => {
    expect(describeDatabase('postgresql://app:SECRET/db')).toBe('a database');
    const refusal = /^Server 2 of 2 in the URL is not a host with a port(?!.*SECRET)/;
    expect(() => splitHosts('postgresql://h:1,app:SECRET/db')).toThrow(refusal);
    expect(splitHosts('postgresql://u@[::1]:5432,%2Frun/db')).toHaveLength(2);
    expect(splitHosts('postgresql:///db')).toEqual(['postgresql:///db']);
  });

  it('has one address', () => {
    for (const name of ['host', 'port']) {
      for (const server of ['a', 'u:p@a:1', 'u@a,b', '[::1]', '%2Frun', 'u@:1']) {
        const url = `postgresql://${server}/db?sslmode=require&${name}=9`;
        const refusal = `Take the parameter "${name}" out of the URL`;
        expect(() => splitHosts(url)).toThrow(refusal);
        expect(() => createUrlClient({ connectionString: url })).toThrow(refusal);
        expect(describeDatabase(url)).toBe('a database');
      }
    }
    for (const url of ['postgresql:///db?host=/run&port=9', 'postgresql://u:p@/db?host=/run&port=9']) {
      expect(splitHosts(url)).toEqual([url]);
      expect(createUrlClient({ connectionString: url })).toMatchObject({ host: '/run', port: 9 });
      expect(describeDatabase(url)).toBe('/db');
    }
  });

  it('is refused, with how to write it, where it cannot be told which is the host', () => {
    for (const url of [
      'postgresql://u:p@ss@h/db',
      'postgresql://u:p/s@h/db',
      'postgresql://u:p?s@h/db',
      'h/db',
    ])
      expect(() => splitHosts(url)).toThrow(/write "@" as %40/);
  });
});
