/**
 * Schema version 4: which mail of ours tells the sender that a job was refused. It lives as long as the job, so that a
 * dead letter that is replayed and refused again bounces no second time, however long the bounce itself is gone. No
 * column of jobs, because a new one in a STRICT table reads all its rows.
 */

export const v004Bounces = `
CREATE TABLE bounces (
  job_seq INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  message_id TEXT NOT NULL
) STRICT;
`;
