"""The commit point: which version of which table is the state of the warehouse."""

from recspark.tables.contract import Column, Table

RUNS = Table(
    "runs",
    "A row a run of a job at a horizon (or delivery). The newest row of a slice is its state; nothing else is.",
    (
        Column("sequence", "bigint", "The commit's number: rows written together share it.", volatile=True),
        Column("run_id", "string", "The run.", volatile=True),
        Column("job", "string", "The job."),
        Column("slice", "string", "The horizon, the delivery's number, or empty."),
        Column("fingerprint", "string", "Hash of the code, the parameters and the inputs' fingerprints.", volatile=True),
        Column("outputs", "map<string,bigint>", "Table -> its Delta version after this job.", volatile=True),
        Column("inputs", "map<string,string>", "table@slice -> the fingerprint that was read.", volatile=True),
        Column("parameters", "string", "JSON of the job's section of the configuration."),
        Column("n_rows", "bigint", "Rows written.", nullable=True),
        Column("started_at", "timestamp", "UTC.", volatile=True),
        Column("seconds", "double", "How long it took.", volatile=True),
        Column("status", "string", "done, published, refused or rolled back.", volatile=True),
        Column("note", "string", "JSON: the horizon, the recorded now, and what else the job has to say.", volatile=True),
    ),
    key=("sequence", "job", "slice"),
)
