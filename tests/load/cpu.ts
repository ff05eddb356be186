/**
 * Who used the processors meanwhile, by /proc: on a machine that others use as well, mails for each second say as
 * much about them as about us, and CPU time for each mail does not.
 */

/** USER_HZ, which Linux has kept at 100 on every architecture that we run on. */
const TICKS_PER_SECOND = 100;

/** CPU seconds of a process and its threads so far; 0 when it is gone. */
export function cpuSeconds(pid: number): number {
  try {
    // Behind the name, which may hold blanks and brackets: state is field 3, utime and stime are 14 and 15.
    const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ").pop()!.split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

/** CPU seconds of all that runs on this machine so far, and of its being idle. */
function machineSeconds(): { busy: number; idle: number } {
  const line = Deno.readTextFileSync("/proc/stat").split("\n")[0]!;
  const [user, nice, system, idle, wait, irq, softirq, steal] = line.split(/ +/).slice(1, 9).map(Number);
  return {
    busy: (user! + nice! + system! + irq! + softirq! + steal!) / TICKS_PER_SECOND,
    idle: (idle! + wait!) / TICKS_PER_SECOND,
  };
}

export interface CpuUse {
  /** CPU seconds of each process, by the name it was given. */
  seconds: Record<string, number>;
  /** The part of the machine that somebody else had, 0 to 1. */
  others: number;
}

/** Begins to count; the function it gives says what was used since. */
export function watchCpu(pids: Record<string, number>): () => CpuUse {
  const names = Object.keys(pids);
  const of = () => names.map((name) => cpuSeconds(pids[name]!));
  const [before, machine] = [of(), machineSeconds()];
  return () => {
    const now = machineSeconds();
    const seconds = Object.fromEntries(of().map((value, i) => [names[i]!, value - before[i]!]));
    const busy = now.busy - machine.busy;
    const ours = Object.values(seconds).reduce((sum, value) => sum + value, 0);
    return { seconds, others: Math.max(0, busy - ours) / Math.max(0.01, busy + now.idle - machine.idle) };
  };
}
