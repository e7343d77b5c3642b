"""Orthanc's index in SQLite: its tables, and the queries that must not read all of it."""

from __future__ import annotations

import re

# The tables that matter and their indexes, as Orthanc 1.12.7 makes them.
TABLES = """
CREATE TABLE GlobalProperties(property INTEGER PRIMARY KEY, value TEXT);
CREATE TABLE Resources(internalId INTEGER PRIMARY KEY AUTOINCREMENT, resourceType INTEGER, publicId TEXT,
  parentId INTEGER);
CREATE TABLE DicomIdentifiers(id INTEGER, tagGroup INTEGER, tagElement INTEGER, value TEXT,
  PRIMARY KEY(id, tagGroup, tagElement));
CREATE TABLE Metadata(id INTEGER, type INTEGER, value TEXT, PRIMARY KEY(id, type));
CREATE INDEX ChildrenIndex ON Resources(parentId);
CREATE INDEX PublicIndex ON Resources(publicId);
CREATE INDEX ResourceTypeIndex ON Resources(resourceType);
CREATE INDEX DicomIdentifiersIndex1 ON DicomIdentifiers(id);
CREATE INDEX DicomIdentifiersIndex2 ON DicomIdentifiers(tagGroup, tagElement);
CREATE INDEX DicomIdentifiersIndexValues ON DicomIdentifiers(value COLLATE BINARY);
INSERT INTO GlobalProperties VALUES (1, '6');
"""
ONE = (
    "SELECT instances.internalId FROM Resources AS instances WHERE instances.resourceType = 4 "
    "AND instances.publicId = 'x'"
)
OF_A_SERIES = (
    "SELECT instances.internalId FROM Resources AS instances INNER JOIN Resources series "
    "ON series.internalId = instances.parentId WHERE instances.resourceType = 4 AND series.publicId = 'x'"
)
# Of what Orthanc asks for a series, and for a list of studies: the numbers of the instances, and how many there are.
LOOKUP = """
WITH Lookup AS (
  SELECT one.publicId, one.internalId, ROW_NUMBER() OVER (ORDER BY one.publicId) AS rowNumber
  FROM Resources AS one WHERE one.resourceType = %s
)
SELECT publicId, internalId, rowNumber FROM Lookup UNION
"""
OF_THE_CHILDREN = (
    LOOKUP % "3 AND one.publicId = 'x'"
    + """
SELECT value, Lookup.internalId, NULL FROM Lookup
INNER JOIN Resources childLevel ON childLevel.parentId = Lookup.internalId
INNER JOIN Metadata ON Metadata.id = childLevel.internalId AND Metadata.type IN (1)
"""
)
OF_THE_GRANDCHILDREN = (
    LOOKUP % "2 LIMIT 101"
    + """
SELECT COUNT(*), Lookup.internalId, NULL FROM Lookup
INNER JOIN Resources childLevel ON Lookup.internalId = childLevel.parentId
INNER JOIN Resources grandChildLevel ON childLevel.internalId = grandChildLevel.parentId GROUP BY Lookup.internalId
"""
)
WHOLE_TABLE = re.compile("SCAN (childLevel|grandChildLevel|Metadata)|BLOOM FILTER")
