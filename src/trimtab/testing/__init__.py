"""The published exams that a backend sits: import them in a test module of your own backend."""

from trimtab.testing.blob_exam import BlobStoreExam as BlobStoreExam
from trimtab.testing.database_exam import DatabaseExam as DatabaseExam
