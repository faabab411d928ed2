"""Attributes that identify patients or staff beyond what a study needs (from PS3.15, table E.1-1).

They are neither indexed nor seen by rules. Names of persons (VR PN) are left out where headers are read, whatever their
keyword. Identifier, age, sex, size and weight are kept: rules ask for them.
"""

from __future__ import annotations

PERSONAL_ATTRIBUTES = frozenset(
    {
        "AdditionalPatientHistory",
        "ConsultingPhysicianName",
        "CountryOfResidence",
        "EthnicGroup",
        "IssuerOfPatientID",
        "MedicalRecordLocator",
        "MilitaryRank",
        "NameOfPhysiciansReadingStudy",
        "Occupation",
        "OperatorsName",
        "OtherPatientIDs",
        "OtherPatientNames",
        "PatientAddress",
        "PatientBirthDate",
        "PatientBirthName",
        "PatientBirthTime",
        "PatientComments",
        "PatientInstitutionResidence",
        "PatientInsurancePlanCodeSequence",
        "PatientMotherBirthName",
        "PatientName",
        "PatientReligiousPreference",
        "PatientTelecomInformation",
        "PatientTelephoneNumbers",
        "PerformingPhysicianName",
        "PhysiciansOfRecord",
        "ReferringPhysicianAddress",
        "ReferringPhysicianName",
        "ReferringPhysicianTelephoneNumbers",
        "RegionOfResidence",
        "RequestingPhysician",
        "ResponsiblePerson",
        "ScheduledPerformingPhysicianName",
    }
)
