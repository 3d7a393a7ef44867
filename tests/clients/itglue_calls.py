"""Runs the package `itglue` against a service, and fails at the first answer that it misreads.

The package takes its address and key from ITGLUE_API_URL and ITGLUE_API_KEY. It has no class for
passwords; as its users do, this derives one. Prints what it has made, as JSON.
"""

import json
import sys

import itglue
from itglue.connection import Connection
from itglue.resources import ResourceBase


class Password(ResourceBase):
    @classmethod
    def resource_type(cls):
        return "passwords"


class PasswordCategory(ResourceBase):
    @classmethod
    def resource_type(cls):
        return "password_categories"


class PasswordFolder(ResourceBase):
    @classmethod
    def resource_type(cls):
        return "password_folders"


def check(said, what):
    if not said:
        sys.exit(what)


def refused(status, call):
    """The call raises the package's own error, with this status."""
    try:
        call()
    except Connection.ResponseError as error:
        check(error.args[0] == status, f"{error.args[0]} instead of {status}")
        return json.loads(error.args[1])["errors"][0]["title"]
    sys.exit(f"no error {status}")


# Organizations, and what the package knows of them itself.
org = itglue.Organization(name="Acme").create()
check(org.id and org.get_attr("organization_type_name") == "Customer", "organization")
check(itglue.Organization.find(org.id).get_attr("name") == "Acme", "find organization")
check(itglue.Organization.find_by(name="acme").id == org.id, "find_by organization")

# Folders and categories.
folder = PasswordFolder(name="Servers").create(parent=org)
check([one.id for one in PasswordFolder.get(parent=org)] == [folder.id], "folders")
cloud = PasswordCategory.find_by(name="Cloud")
check(cloud and len(PasswordCategory.get()) == 7, "categories")

# One record: made, found, filtered.
one = Password(name="A B", password="first", organization_id=int(org.id)).create()
check(one.get_attr("organization_id") == int(org.id), "create")
check(one.get_attr("password") is None, "no value in the answer")
check(Password.find(int(one.id)).get_attr("password") == "first", "find")
found = Password.filter(organization_id=int(org.id), name="A B", archived="false")
check([record.id for record in found] == [one.id], "filter")
related = Password(name="r", organization_id=int(org.id))
related.create(password_category=[PasswordCategory(name="Cloud")])
check(related.get_attr("password_category_id") == int(cloud.id), "relationship")
both = Password.filter(id=[int(one.id), int(related.id)])
check(len(both) == 2, "filter by ids")

# What is read and saved again changes nothing but what was set.
read = Password.find(int(one.id))
read.set_attr("notes", "x")
read.save()
check(read.get_attr("notes") == "x", "save")

# An edit of the value, then one that shows it.
Password(id=int(one.id), password="second").update()
shown = itglue.connection.patch(
    f"/passwords/{one.id}?show_password=true",
    payload={"type": "passwords", "attributes": {"notes": "y"}},
)
check(shown["attributes"]["password"] == "second", "patch with a query")

# In bulk: sixty come in two pages.
many = [Password(name=f"n{nth}", password=f"p{nth}") for nth in range(60)]
made = Password.bulk_create(many, parent=org)
check(len(made) == 60, "bulk_create")
check(len(Password.get()) == 62, "get follows the pages")
check(len(Password.get(parent=org)) == 62, "get of a parent follows the pages")
changed = Password.bulk_update([Password(id=made[0].id, password="q"), Password(id=made[1].id, name="m")])
check([record.id for record in changed] == [made[0].id, made[1].id], "bulk_update")
gone = Password.bulk_delete(made[2:])
check(len(gone) == 58, "bulk_delete")

# A deletion answers 204, whose missing body the package takes for broken JSON.
try:
    made[1].delete()
    sys.exit("the package read a body where there is none")
except ValueError:
    pass

check(refused(404, lambda: Password.find(999)) == "Password not found", "404")
check(refused(400, lambda: Password(name="x").create()) == "Organization required", "400")
check(refused(422, lambda: Password(name="x", organization_id=999).create()), "422")
json.dump({"one": int(one.id), "related": int(related.id), "bulk": int(made[0].id)}, sys.stdout)
