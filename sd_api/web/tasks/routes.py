"""The endpoints for tasks: each decodes a request, calls the service, and encodes the answer."""

from functools import partial
from typing import Any

from flask import Blueprint, Response, jsonify

from sd_api.accounts.accounts import Accounts
from sd_api.tasks.parameters import stored_id
from sd_api.tasks.service import TaskService
from sd_api.web.bearer import identify_caller
from sd_api.web.client import is_on_this_computer
from sd_api.web.estimates import estimate_json
from sd_api.web.tasks.answers import event_json, task_json
from sd_api.web.tasks.bodies import read_object, read_page, validated


def make_blueprint(accounts: Accounts, tasks: TaskService) -> Blueprint:
    """The endpoints over ``tasks``."""
    blueprint = Blueprint("tasks", __name__)
    endpoints = TaskEndpoints(accounts, tasks)
    blueprint.add_url_rule("/task", view_func=endpoints.create, methods=["POST"])
    blueprint.add_url_rule("/tasks/estimate", view_func=endpoints.estimate, methods=["POST"])
    blueprint.add_url_rule("/task/<task_id>", view_func=endpoints.last_event)
    blueprint.add_url_rule("/task/<task_id>", view_func=endpoints.cancel, methods=["DELETE"])
    blueprint.add_url_rule("/tasks", view_func=endpoints.list)
    return blueprint


class TaskEndpoints:
    """One method for each endpoint."""

    def __init__(self, accounts: Accounts, tasks: TaskService) -> None:
        self._accounts = accounts
        self._tasks = tasks

    def create(self) -> Response:
        """Accept a task and return its id."""
        owner = self._owner()
        return jsonify(validated(partial(self._tasks.create, owner, from_here=is_on_this_computer()), read_object()))

    def estimate(self) -> Response:
        """What a task would take."""
        owner = self._owner()
        ask = partial(self._tasks.estimate, owner, from_here=is_on_this_computer())
        return _fresh(estimate_json(validated(ask, read_object())))

    def last_event(self, task_id: str) -> Response:
        """The last stored event of a task."""
        return _fresh(event_json(self._tasks.last_event(self._owner(), stored_id(task_id))))

    def cancel(self, task_id: str) -> tuple[str, int]:
        """Cancel a task."""
        self._tasks.cancel(self._owner(), stored_id(task_id))
        return "", 204

    def list(self) -> Response:
        """The owner's tasks, the newest first."""
        owner, page = self._owner(), read_page()
        tasks = self._tasks.list(owner, limit=page.limit, offset=page.offset)
        return _fresh({"tasks": [task_json(task, event) for task, event in tasks]})

    def _owner(self) -> str:
        return identify_caller(self._accounts).owner


def _fresh(answer: dict[str, Any]) -> Response:
    response = jsonify(answer)
    response.headers["Cache-Control"] = "no-store"
    return response
