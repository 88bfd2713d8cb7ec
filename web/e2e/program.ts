// The real program, as a user starts it, on a data directory of its own.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

const root = path.resolve(import.meta.dirname, '../..');
const binary = process.env.TRIAGE_BINARY ?? path.join(root, 'bin/triage');
const startTime = 60_000;

export interface Program {
  url: string;
  otlp: string;
  /** Writes another configuration and has it read. */
  configure: (yaml: string) => void;
  /** Sends the API a document, as the command line does. */
  put: (path: string, document: unknown) => Promise<void>;
  stop: () => Promise<void>;
}

/** Starts a server; with a recording of bench/exams, on what was received then, judged again. */
export async function startProgram(recording?: string): Promise<Program> {
  if (!existsSync(binary)) throw new Error(`${binary} is not there: run make build first`);
  const dir = mkdtempSync(path.join(tmpdir(), 'triage-web-'));
  const data = path.join(dir, 'data');
  if (recording) {
    const from = path.join(root, 'bench/exams/testdata', recording);
    const replay = spawnSync(binary, ['replay', from, '--data', data], { encoding: 'utf8' });
    if (replay.status !== 0) throw new Error(`replay ${recording}: ${replay.stderr}`);
  }
  const config = path.join(dir, 'triage.yml');
  writeFileSync(config, '');
  const flags = ['--config', config, '--data', data, '--listen-http', '127.0.0.1:0', '--listen-otlp-http', '127.0.0.1:0', '--listen-otlp-grpc', 'off', '--host-metrics-enabled=false'];
  const child = spawn(binary, ['serve', ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  const ready = await addresses(child);
  return {
    url: `http://${ready.http}`,
    otlp: `http://${ready.otlp_http}`,
    configure: (yaml) => {
      writeFileSync(config, yaml);
      child.kill('SIGHUP');
    },
    put: (where, document) => post(`http://${ready.http}${where}`, document),
    stop: async () => {
      const gone = new Promise((done) => child.once('exit', done));
      child.kill('SIGTERM');
      await gone;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Reads the line that names the open ports. */
function addresses(child: ChildProcess): Promise<Record<string, string>> {
  return new Promise((resolve, reject) => {
    const said: string[] = [];
    const late = setTimeout(() => reject(new Error(`the server is not ready after ${startTime / 1000} s:\n${said.join('\n')}`)), startTime);
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}:\n${said.join('\n')}`)));
    if (!child.stderr) return;
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line);
      if (!line.includes('msg=ready')) return;
      clearTimeout(late);
      resolve(Object.fromEntries([...line.matchAll(/(\w+)=(\S+)/g)].map((m) => [m[1], m[2]])));
    });
  });
}

interface SpanInput {
  trace: string;
  id: string;
  parent?: string;
  name: string;
  kind?: number;
  start: number; // ms
  length: number; // ms
  failed?: boolean;
  attributes?: Record<string, string>;
}

const attributes = (a: Record<string, string> = {}) => Object.entries(a).map(([key, stringValue]) => ({ key, value: { stringValue } }));
const nanos = (ms: number) => `${Math.round(ms * 1000)}000`;

async function post(url: string, body: unknown): Promise<void> {
  const res = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: typeof body === 'string' ? body : JSON.stringify(body) });
  if (!res.ok) throw new Error(`${url}: ${res.status} ${await res.text()}`);
}

/** Sends spans of one service, as an SDK does. */
export async function sendSpans(p: Program, service: string, spans: SpanInput[]): Promise<void> {
  for (let i = 0; i < spans.length; i += 10_000) {
    await post(`${p.otlp}/v1/traces`, {
      resourceSpans: [
        {
          resource: { attributes: attributes({ 'service.name': service }) },
          scopeSpans: [
            {
              spans: spans.slice(i, i + 10_000).map((s) => ({
                traceId: s.trace,
                spanId: s.id,
                parentSpanId: s.parent ?? '',
                name: s.name,
                kind: s.kind ?? 1,
                startTimeUnixNano: nanos(s.start),
                endTimeUnixNano: nanos(s.start + s.length),
                status: s.failed ? { code: 2, message: 'it failed' } : {},
                attributes: attributes(s.attributes),
              })),
            },
          ],
        },
      ],
    });
  }
}

/** Sends values of a gauge, for each of some services at some times. */
export async function sendGauges(p: Program, name: string, services: string[], times: number[]): Promise<void> {
  await post(`${p.otlp}/v1/metrics`, {
    resourceMetrics: services.map((service, i) => ({
      resource: { attributes: attributes({ 'service.name': service }) },
      scopeMetrics: [{ metrics: [{ name, gauge: { dataPoints: times.map((at) => ({ timeUnixNano: nanos(at), asDouble: i + Math.sin(at / 3_600_000 + i) })) } }] }],
    })),
  });
}

/** Sends log lines of one service. */
export async function sendLogs(p: Program, service: string, lines: { at: number; body: string; severity?: number; attributes?: Record<string, string> }[]): Promise<void> {
  await post(`${p.otlp}/v1/logs`, {
    resourceLogs: [
      {
        resource: { attributes: attributes({ 'service.name': service }) },
        scopeLogs: [
          {
            logRecords: lines.map((l) => ({
              timeUnixNano: nanos(l.at),
              severityNumber: l.severity ?? 9,
              body: { stringValue: l.body },
              attributes: attributes(l.attributes),
            })),
          },
        ],
      },
    ],
  });
}

/** Sends calls among n services: each is called by one before it, and every third by a second one. */
export async function sendCalls(p: Program, n: number, start: number): Promise<void> {
  const id = (i: number) => (i + 1).toString(16).padStart(16, '0');
  const spans: Record<string, object[]> = {};
  const call = (trace: string, from: number, to: number, at: number) => {
    const one = (span: string, parent: string, kind: number, length: number) => ({
      traceId: trace,
      spanId: span,
      parentSpanId: parent,
      name: `call ${to}`,
      kind,
      startTimeUnixNano: nanos(at),
      endTimeUnixNano: nanos(at + length),
    });
    (spans[`s-${from}`] ??= []).push(one(id(2 * at), '', 3, 12));
    (spans[`s-${to}`] ??= []).push(one(id(2 * at + 1), id(2 * at), 2, 10));
  };
  for (let i = 1; i < n; i++) {
    call(i.toString(16).padStart(32, 'e'), Math.floor((i * 7) / 11), i, start + i);
    if (i % 3 === 0) call(i.toString(16).padStart(32, 'f'), Math.floor(i / 2), i, start + n + i);
  }
  await post(`${p.otlp}/v1/traces`, {
    resourceSpans: Object.entries(spans).map(([service, list]) => ({ resource: { attributes: attributes({ 'service.name': service }) }, scopeSpans: [{ spans: list }] })),
  });
}

/** A trace of n spans, eight below each, of several services' names. */
export function bigTrace(trace: string, n: number, start: number): SpanInput[] {
  const id = (i: number) => (i + 1).toString(16).padStart(16, '0');
  return Array.from({ length: n }, (_, i) => ({
    trace,
    id: id(i),
    parent: i === 0 ? undefined : id(Math.floor((i - 1) / 8)),
    name: i === 0 ? 'GET /everything' : `step ${i % 97}`,
    kind: i === 0 ? 2 : 1,
    start: start + i * 0.01,
    length: i === 0 ? n * 0.01 + 10 : 5,
    failed: i > 0 && i % 9973 === 0,
  }));
}
