/**
 * The queue of one carrier: looks for lanes with due jobs, claims in batches, runs attempts, settles them.
 *
 * - A lane is asked for jobs only while its endpoint has room (endpoint.ts) and its breaker permits; what is due
 *   behind an open breaker stays in the store, unclaimed, and costs nothing.
 * - A probe is one job. If it is answered, the lane is drained at full speed. If it failed and was past its age
 *   limit, the other jobs past theirs are given up with it (settler.ts).
 * - The store failing is temporary: one warning, then again in a second, never at once. An outcome that can't be
 *   written is kept and written later; it holds its place meanwhile, so a dead store stops the claiming.
 * - Due times are wall clock, timers are monotonic and never sleep over 30 s: a clock stepped forward is noticed
 *   soon. A step back would strand what was deferred before (clock_watch.ts).
 * - Where the carrier has a limit over all endpoints, lanes that find no room wait in line: what ends next makes
 *   room for the first of them, so that one busy destination does not keep out all others (attempt_places.ts).
 * - A wake-up while looking makes it look once more, however many there were.
 */

import type { Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { ClaimedJob } from "../store/types.ts";
import { type AttemptResult, runAttempt } from "./attempt.ts";
import { AttemptPlaces } from "./attempt_places.ts";
import { ClockWatch } from "./clock_watch.ts";
import { Endpoint } from "./endpoint.ts";
import { type CarrierQueueDeps, Settler, STORE_RETRY_MS } from "./settler.ts";

const SLEEP_MS_MAX = 30_000;
const SLEEP_MS_MIN = 5;
/** More lanes than any configuration has; what is beyond waits for the next look. */
const LANES_MAX = 10_000;
/** After a look that found many lanes the next one is not at once: what is new waits behind what is there. */
const LANES_MANY = 500;
const LOOK_REST_MS = 100;
/** Above this, endpoints that failed a few times and have nothing going on are forgotten. */
const ENDPOINTS_MAX = 10_000;
/** What an endpoint in trouble is told of by. */
const LANES_KEPT = 10;
/** An endpoint in trouble that nobody has tried for longer than any job waits has no jobs any more. */
const UNUSED_MS = 3 * 60 * 60_000;
/** Of one endpoint, when jobs past their age limit are given up. */
const EXPIRED_LANES_MAX = 100;

interface Lane {
  name: string;
  /** The last look or claim said that there may be more in the store. */
  more: boolean;
  claiming: boolean;
  endpoint: Endpoint;
}

export class CarrierQueue {
  readonly #deps: CarrierQueueDeps;
  readonly #lanes = new Map<string, Lane>();
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #tasks = new Set<Promise<void>>();
  readonly #attempts = new AbortController();
  readonly #stop = new AbortController();
  readonly #settler: Settler;
  readonly #clockWatch: ClockWatch;
  /** Lanes with due jobs that the limit over all endpoints keeps waiting, first come first served. */
  readonly #waiting = new Set<string>();
  readonly #places: AttemptPlaces;
  #tidiedAtMs = -Infinity;
  #restUntilMs = -Infinity;
  #looking = false;
  #lookAgain = false;
  #timer: Timer | null = null;
  #timerAtMs = 0;

  constructor(deps: CarrierQueueDeps) {
    this.#deps = deps;
    this.#places = new AttemptPlaces(deps.clock, deps.carrier);
    this.#settler = new Settler(deps, this.#attempts.signal);
    this.#clockWatch = new ClockWatch(deps);
  }

  get endpoints(): Iterable<Endpoint> {
    return this.#endpoints.values();
  }

  /** Looks for due jobs soon. Cheap and may be called at any rate. */
  wake(): void {
    if (this.#stop.signal.aborted) return;
    this.#lookAgain = true;
    if (this.#looking) return;
    const restMs = this.#restUntilMs - this.#deps.clock.monotonic();
    if (restMs > 0) return this.#sleep(restMs);
    this.#looking = true;
    this.#track(this.#look());
  }

  /** Claims nothing more, puts back what has not begun, and lets what has begun finish until the deadline. */
  async drain(deadlineMs: number): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    this.#stop.abort();
    for (const endpoint of this.#endpoints.values()) this.#releaseQueue(endpoint);
    if (await this.#idleWithin(deadlineMs)) return;
    this.#attempts.abort();
    // Aborted attempts end at once; the second is for the store.
    await this.#idleWithin(STORE_RETRY_MS);
  }

  // --- looking and claiming

  async #look(): Promise<void> {
    const { store, carrier, clock, log } = this.#deps;
    let sleepMs = SLEEP_MS_MAX;
    try {
      this.#tidy();
      await this.#clockWatch.look();
      while (this.#lookAgain && !this.#stop.signal.aborted) {
        this.#lookAgain = false;
        // One moment for both questions: a job that came due between two of them would be in neither answer.
        const nowMs = clock.now();
        const names = await store.dueLanes(carrier.name, nowMs, LANES_MAX);
        for (const name of names) this.#hungry(name);
        if (names.length >= LANES_MANY) this.#restUntilMs = clock.monotonic() + LOOK_REST_MS;
        else if (this.#lookAgain) continue;
        const nextMs = await store.nextDueAt(carrier.name, nowMs);
        sleepMs = nextMs === null ? SLEEP_MS_MAX : nextMs - clock.now();
        // There are others that were not told.
        if (names.length >= LANES_MAX) sleepMs = Math.min(sleepMs, STORE_RETRY_MS);
        if (!this.#lookAgain) continue;
        sleepMs = this.#restUntilMs - clock.monotonic();
        if (sleepMs > 0) break;
      }
    } catch (error) {
      log.warn("Cannot look for due jobs: store failed", { carrier: carrier.name, error: messageOf(error) });
      sleepMs = STORE_RETRY_MS;
    }
    this.#looking = false;
    this.#sleep(sleepMs);
  }

  /** Wakes after `delayMs`, unless an earlier wake-up is already set. */
  #sleep(delayMs: number): void {
    if (this.#stop.signal.aborted) return;
    const { clock } = this.#deps;
    const waitMs = Math.min(Math.max(delayMs, SLEEP_MS_MIN), SLEEP_MS_MAX);
    const atMs = clock.monotonic() + waitMs;
    if (this.#timer && this.#timerAtMs <= atMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    this.#timer = clock.timer(waitMs, () => {
      this.#timer = null;
      this.wake();
    });
  }

  /** There is something due in the lane. */
  #hungry(name: string): void {
    const endpoint = this.#endpointOf(name);
    let lane = this.#lanes.get(name);
    if (!lane) {
      lane = { name, more: true, claiming: false, endpoint };
      this.#lanes.set(name, lane);
    }
    lane.more = true;
    endpoint.lanes.add(name);
    this.#refill(lane);
  }

  #endpointOf(lane: string): Endpoint {
    const name = this.#deps.carrier.endpointOf(lane, "");
    let endpoint = this.#endpoints.get(name);
    if (!endpoint) {
      endpoint = new Endpoint(name);
      this.#endpoints.set(name, endpoint);
    }
    return endpoint;
  }

  #roomAt(endpoint: Endpoint): number {
    const { carrier, clock } = this.#deps;
    const scarce = this.#waiting.size > 0 || this.#places.scarce;
    return endpoint.room(clock.monotonic(), carrier.concurrencyMax(endpoint.name), scarce);
  }

  /** Claims for the lane as much as there is room for, once at a time. */
  #refill(lane: Lane): void {
    if (!lane.more || lane.claiming || this.#stop.signal.aborted) return;
    // Asked anew each time: a reload may have given the lane another address.
    const endpoint = this.#endpointOf(lane.name);
    if (endpoint !== lane.endpoint) {
      lane.endpoint.lanes.delete(lane.name);
      lane.endpoint = endpoint;
      endpoint.lanes.add(lane.name);
    }
    const wanted = this.#roomAt(endpoint);
    if (wanted === 0) return void this.#sleepUntilProbe(endpoint);
    // Behind one smarthost each domain is a lane, with a mail or two: claimed at once, not one after another.
    const share = Math.ceil(wanted / Math.max(1, endpoint.lanes.size));
    const room = Math.min(share, this.#places.free);
    if (room <= 0) return void this.#waiting.add(lane.name);
    this.#places.held += room;
    lane.claiming = true;
    // Before the claim: a look that finds more meanwhile sets it again.
    lane.more = false;
    endpoint.reserved += room;
    this.#track(this.#claim(lane, endpoint, room));
  }

  async #claim(lane: Lane, endpoint: Endpoint, room: number): Promise<void> {
    const { store, carrier, clock, log } = this.#deps;
    try {
      const jobs = await store.claim(carrier.name, lane.name, clock.now(), room);
      endpoint.queue.push(...jobs);
      this.#places.held += jobs.length;
      if (jobs.length >= room) lane.more = true;
    } catch (error) {
      log.warn("Cannot claim jobs: store failed", { carrier: carrier.name, error: messageOf(error) });
      // Not lane.more: the next look finds it again, a second from now and not at once.
      this.#sleep(STORE_RETRY_MS);
    } finally {
      endpoint.reserved -= room;
      this.#places.held -= room;
      lane.claiming = false;
    }
    if (this.#stop.signal.aborted) return this.#releaseQueue(endpoint);
    this.#feedWaiting();
    this.#dispatch(endpoint);
    this.#forgetIdle(lane.endpoint, lane.name);
  }

  /** Room has come free: those that wait for it claim before anybody claims again. */
  #feedWaiting(): void {
    let left = this.#waiting.size;
    for (const name of this.#waiting) {
      if (left-- === 0 || this.#places.free <= 0) return;
      this.#waiting.delete(name);
      const lane = this.#lanes.get(name);
      if (lane) this.#refill(lane);
    }
  }

  // --- attempts

  /** Starts what may start, then claims more if there is room and need. */
  #dispatch(endpoint: Endpoint): void {
    const { carrier, clock } = this.#deps;
    const concurrencyMax = carrier.concurrencyMax(endpoint.name);
    while (!this.#stop.signal.aborted) {
      const job = endpoint.take(clock.monotonic(), concurrencyMax);
      if (!job) break;
      this.#track(this.#run(endpoint, job));
    }
    if (endpoint.breaker.open && endpoint.queue.length > 0) {
      this.#releaseQueue(endpoint);
      this.#feedWaiting();
    }
    // In turns, when several lanes share the endpoint: the lane that claims goes to the end. They may be thousands,
    // all mail through one smarthost, so no further than there is room.
    let left = endpoint.lanes.size;
    for (const name of endpoint.lanes) {
      if (left-- === 0 || this.#roomAt(endpoint) === 0) break;
      const lane = this.#lanes.get(name);
      if (!lane?.more || lane.claiming) continue;
      endpoint.lanes.delete(name);
      endpoint.lanes.add(name);
      this.#refill(lane);
    }
  }

  async #run(endpoint: Endpoint, job: ClaimedJob): Promise<void> {
    const probe = endpoint.breaker.started();
    endpoint.inFlight++;
    const leave = this.#places.take(endpoint, () => this.#slowAt(endpoint));
    const result = await runAttempt(this.#deps, job, this.#attempts.signal);
    endpoint.inFlight--;
    leave();
    endpoint.lastUsedMs = this.#deps.clock.monotonic();
    if (result.endpoint === "failing" && endpoint.lanes.size < LANES_KEPT) endpoint.lanes.add(job.lane);
    this.#learn(endpoint, probe, result);
    this.#feedWaiting();
    endpoint.settling++;
    // The slot is free now; the outcome's way to disk is not the endpoint's time.
    this.#dispatch(endpoint);
    await this.#settler.settle(job, result.settlement);
    endpoint.settling--;
    if (result.settlement.kind === "deferred") this.#sleep(result.settlement.dueAt - this.#deps.clock.now());
    if (probe && result.settlement.kind === "dead" && endpoint.breaker.open) {
      await this.#giveUpExpired(endpoint, job.lane, result.error ?? "failures");
    }
    this.#dispatch(endpoint);
    this.#forgetIdle(endpoint, job.lane);
  }

  /** What is claimed behind a slow attempt goes back, where it can be held, dropped, or learn that it is suppressed. */
  #slowAt(endpoint: Endpoint): void {
    this.#releaseQueue(endpoint);
    this.#feedWaiting();
  }

  /** The longest waiting lanes of those known to have due jobs; next time the others. */
  async #giveUpExpired(endpoint: Endpoint, lane: string, lastError: string): Promise<void> {
    for (const name of [...new Set([lane, ...endpoint.lanes])].slice(0, EXPIRED_LANES_MAX)) {
      if (endpoint.lanes.delete(name)) endpoint.lanes.add(name);
      await this.#settler.giveUpExpired(name, lastError);
    }
  }

  /** Tells the breaker, and the log when that opened or closed it. */
  #learn(endpoint: Endpoint, probe: boolean, result: AttemptResult): void {
    const { carrier, clock, log } = this.#deps;
    const wasOpen = endpoint.breaker.open;
    endpoint.lastError = result.error ?? endpoint.lastError;
    if (result.endpoint === "alive") endpoint.breaker.succeeded(probe);
    else if (result.endpoint === "failing") {
      endpoint.breaker.failed(probe, clock.monotonic(), result.quietMs);
    } else endpoint.breaker.inconclusive(probe, clock.monotonic());
    if (endpoint.breaker.open) this.#sleepUntilProbe(endpoint);
    if (endpoint.breaker.open === wasOpen) return;
    const fields = { carrier: carrier.name, lanes: [...endpoint.lanes].slice(0, LANES_KEPT) };
    if (endpoint.breaker.open) {
      log.warn("Endpoint paused", { ...fields, failures: endpoint.breaker.failures, error: result.error });
    } else log.info("Endpoint answers again", fields);
  }

  /** A probe time that is past or unknown waits for a job or an answer, not for time. */
  #sleepUntilProbe(endpoint: Endpoint): void {
    const waitMs = (endpoint.breaker.probeAtMs ?? 0) - this.#deps.clock.monotonic();
    if (waitMs > 0) this.#sleep(waitMs);
  }

  // --- settling

  #releaseQueue(endpoint: Endpoint): void {
    for (const job of endpoint.queue.splice(0)) {
      this.#places.held--;
      // They are still due: asked for again when the endpoint is.
      const lane = this.#lanes.get(job.lane);
      if (lane) lane.more = true;
      this.#track(this.#settler.settle(job, { kind: "released" }));
    }
  }

  // --- keeping count

  /** The lane has nothing more, then maybe the endpoint has not either. */
  #forgetIdle(endpoint: Endpoint, name: string): void {
    const lane = this.#lanes.get(name);
    if (!lane || !(lane.more || lane.claiming)) {
      this.#lanes.delete(name);
      if (endpoint.breaker.failures === 0 || endpoint.lanes.size > LANES_KEPT) endpoint.lanes.delete(name);
    }
    if (endpoint.idle && ![...endpoint.lanes].some((other) => this.#lanes.has(other))) this.#forget(endpoint);
  }

  #forget(endpoint: Endpoint): void {
    for (const name of endpoint.lanes) {
      if (this.#lanes.get(name)?.endpoint === endpoint) this.#lanes.delete(name);
    }
    if (this.#endpoints.get(endpoint.name) === endpoint) this.#endpoints.delete(endpoint.name);
  }

  /**
   * Forgets endpoints in trouble that nothing will be tried at any more: a reload led their lanes elsewhere, or
   * their last job was dropped. They would be reported as paused for ever. Beyond the maximum a few failures are
   * forgotten, too.
   */
  #tidy(): void {
    const { carrier, clock } = this.#deps;
    const nowMs = clock.monotonic();
    if (nowMs - this.#tidiedAtMs < SLEEP_MS_MAX) return;
    this.#tidiedAtMs = nowMs;
    for (const endpoint of this.#endpoints.values()) {
      if (!endpoint.quiet || endpoint.breaker.failures === 0) continue;
      const isDone = nowMs - endpoint.lastUsedMs > UNUSED_MS ||
        ![...endpoint.lanes].some((lane) => carrier.endpointOf(lane, "") === endpoint.name);
      const isTooMany = this.#endpoints.size > ENDPOINTS_MAX && !endpoint.breaker.open;
      if (isDone || isTooMany) this.#forget(endpoint);
    }
  }

  #track(task: Promise<void>): void {
    this.#tasks.add(task);
    task.catch((error) => {
      this.#deps.log.error("Delivery engine failed", { carrier: this.#deps.carrier.name, error });
    }).finally(() => this.#tasks.delete(task));
  }

  /** True when all tasks ended by then. */
  async #idleWithin(timeoutMs: number): Promise<boolean> {
    const over = new AbortController();
    const timer = this.#deps.clock.timer(timeoutMs, () => over.abort());
    const timedOut = new Promise<void>((resolve) => over.signal.addEventListener("abort", () => resolve()));
    while (this.#tasks.size > 0 && !over.signal.aborted) {
      await Promise.race([Promise.allSettled([...this.#tasks]), timedOut]);
    }
    timer.cancel();
    return this.#tasks.size === 0;
  }
}
