/** A worker thread of the mail pool: serves the tasks of mail_tasks.ts until it is terminated. */

import { serveWorker } from "../base/worker_host.ts";
import { mailTasks } from "./mail_tasks.ts";

serveWorker(mailTasks);
