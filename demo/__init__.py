"""A small invented hospital that sends real HL7 v2 traffic through the example site."""
