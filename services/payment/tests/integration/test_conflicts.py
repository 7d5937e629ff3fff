"""A batch that PostgreSQL refuses again and again, as it does when transactions are in each other's way."""

import pytest
from sqlalchemy import make_url, text

from payment.storage.opening import open_database
from processes import Service, wait_for

pytestmark = pytest.mark.parametrize("database_url", ["postgresql", "transaction"], indirect=True)

CONFLICTS = """
    CREATE SEQUENCE tries;
    CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('tries') <= new.amount THEN
            RAISE serialization_failure USING MESSAGE = 'somebody was quicker';
        END IF;
        RETURN new;
    END $$;
    CREATE TRIGGER conflict BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION conflict()"""
"""As many tries fail as the amount says: a sequence keeps its count when all else is rolled back."""


@pytest.fixture
def service(start_alone: Service, database_url: str) -> Service:
    """A service whose batches meet conflicts."""
    database = open_database(make_url(database_url))
    with database.write() as connection:
        connection.execute(text(CONFLICTS))
    database.close()
    return start_alone


def test_a_batch_is_tried_three_times(service: Service) -> None:
    assert service.pay(1, amount=2).status_code == 201
    assert [line for line in service.log() if line["event"] == "batch failed"] == []


def test_a_batch_that_fails_three_times_is_503_and_the_log_says_why(service: Service) -> None:
    assert service.pay(1, amount=3).status_code == 503
    wait_for(lambda: any(line["event"] == "batch failed" for line in service.log()))
    (line,) = (line for line in service.log() if line["event"] == "batch failed")
    assert (line["level"], line["size"]) == ("error", 1)
    assert "somebody was quicker" in line["error"]
    assert service.pay(1, amount=3).status_code == 201, "nothing was booked, and the next one is"
