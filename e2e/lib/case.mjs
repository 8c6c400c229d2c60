// Cases: a script registers them with test() and ends with run(). Each prints one line that the Go side reads,
// `case ok NAME MS` or `case fail NAME MS "reason"`, so that one broken need does not hide the others.
const cases = [];

// test registers a case. Its name is what the Go test asks for; ms bounds it, for the few that look at many pages.
export function test(name, fn, ms = Number(process.env.CASE_MS ?? 60_000)) {
  cases.push({ name, fn, ms });
}

// run runs the cases in order and sets the exit code.
export async function run() {
  // A promise that nobody awaits any more, as its case has failed already, must not end the cases after it.
  process.on('unhandledRejection', (err) => console.log('unhandled:', explain(err)));
  const only = process.env.CASES ? new Set(process.env.CASES.split(',')) : null;
  for (const { name, fn, ms } of cases) {
    if (only && !only.has(name)) continue;
    const started = performance.now();
    try {
      await deadline(fn(), ms);
      console.log(`case ok ${name} ${Math.round(performance.now() - started)}`);
    } catch (err) {
      process.exitCode = 1;
      console.log(`case fail ${name} ${Math.round(performance.now() - started)} ${JSON.stringify(explain(err))}`);
    }
  }
  // Keep-alive sockets and abandoned streams must not hold the process.
  setTimeout(() => process.exit(process.exitCode ?? 0), 1000).unref();
}

function deadline(work, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${ms} ms`)), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

function explain(err) {
  const cause = err?.cause ? `\ncaused by: ${err.cause.stack ?? err.cause}` : '';
  return `${err?.stack ?? err}${cause}`;
}
