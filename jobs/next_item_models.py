"""sequences, item_features -> next_item_models: the trained model of what comes next, and its card."""

from recspark.ranking.next_item.train import train_next_item_model
from recspark.runtime.job import Job
from recspark.tables import NEXT_ITEM_MODELS

JOB = Job(train_next_item_model, writes=NEXT_ITEM_MODELS, runner="torch")

if __name__ == "__main__":
    JOB.main()
