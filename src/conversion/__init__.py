"""Models in and out of other ecosystems' files. Its README says which, and what is refused."""
